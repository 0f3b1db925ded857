"""Workers that flags name: what a dry run says without the others, and what is refused."""

import pytest

from tlkeras.backend import environment
from tlkeras.cli.main import main

WORKERS = "--workers=host-a:22220,host-b:22220"


@pytest.fixture
def train(monkeypatch):
    """Runs `tlkeras train --dry_run`; who was named is forgotten afterwards."""
    monkeypatch.setattr(environment, "_from_flags", None)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    return lambda *flags: main(["train", "--config=synthetic_smoke", *flags, "--dry_run"])


def test_a_dry_run_waits_for_no_other_worker(train, tmp_path, capsys):
    assert train(WORKERS, "--worker_index=0", f"--workdir={tmp_path / 'run'}") == 0
    said = capsys.readouterr().out
    assert "small_cnn" in said and "nothing was trained" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ([WORKERS], "given together"),
        (["--worker_index=1"], "given together"),
        (["--workers=", "--worker_index=1"], "given together"),
        ([WORKERS, "--worker_index=2"], "0..1"),
        ([WORKERS, "--worker_index=one"], "worker_index"),
        (["--workers=host-a,host-b:1", "--worker_index=0"], "Received: 'host-a'"),
        ([WORKERS, "--worker_index=0", "--strategy=mirrored"], "2 workers are named by flags"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(train, flags, says, capsys):
    assert train(*flags) == 2
    out, error = capsys.readouterr()
    assert says in error and error.count("\n") == 1 and not out


def test_flags_beside_tf_config_are_refused(train, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}')
    assert train(WORKERS, "--worker_index=0") == 2
    assert "unset TF_CONFIG" in capsys.readouterr().err

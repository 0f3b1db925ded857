"""Runs whose workdir lies on Drive or gs://."""

import re
import subprocess
import sys

import numpy as np
import pytest

from tlkeras.backend import remote_run
from tlkeras.backend.remote_run import Mirror, is_remote, mirrored
from tlkeras.errors import RunError, UserError
from tlkeras.run_dir import CheckpointStore


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder that stands for Drive, with the local copies in another place."""
    monkeypatch.setattr(remote_run.tempfile, "gettempdir", lambda: str(tmp_path / "local"))
    monkeypatch.setattr(remote_run, "RETRY_AFTER_SECONDS", (0.0, 0.0))
    return tmp_path / "drive" / "runs" / "cats"


@pytest.fixture
def broken(monkeypatch):
    """A list of what the next pushes shall fail with; None is one that works."""
    errors, push = [], Mirror.push

    def failing(self):
        if errors and (error := errors.pop(0)) is not None:
            raise error
        push(self)

    monkeypatch.setattr(Mirror, "push", failing)
    return errors


def begin_run(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "ledger.jsonl").write_text('{"event": "started"}\n')


def checkpoint(folder, step):
    return CheckpointStore(folder / "stages" / "checkpoint").save_arrays({"a": np.ones(2)}, step=step)


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_which_places_are_remote():
    assert (
        is_remote("gs://bucket/run") and is_remote("/content/drive/MyDrive/run") and is_remote("s3://b/run")
    )
    assert not is_remote("runs/x") and not is_remote("/content/runs") and not is_remote(None)


@pytest.mark.parametrize("spelled", ["drive/MyDrive/a", "./drive/../drive/MyDrive/a", "~/drive/a", "link/a"])
def test_drive_is_recognised_in_any_spelling(spelled, tmp_path, monkeypatch):
    """As on Colab, where the notebook's folder is that in which Drive is mounted."""
    drive = tmp_path / "drive"
    drive.mkdir()
    (tmp_path / "link").symlink_to(drive)
    monkeypatch.setattr(remote_run, "DRIVE", str(drive))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert is_remote(spelled) and not is_remote("drive2/a") and not is_remote("runs/drive/a")
    assert Mirror(spelled).remote.startswith(f"{drive}/")
    with pytest.raises(UserError, match="not mounted"):
        Mirror(spelled).check()


def test_a_second_process_is_refused_before_it_touches_the_first_ones_files(remote):
    program = (
        "import sys; from tlkeras.backend import remote_run; from tlkeras.errors import UserError\n"
        "remote_run.tempfile.gettempdir = lambda: sys.argv[2]\n"
        "try:\n"
        "    with remote_run.mirrored(sys.argv[1]): print('in')\n"
        "except UserError as error: print(error)"
    )
    with mirrored(str(remote)) as folder:
        begin_run(folder)
        command = [sys.executable, "-c", program, str(remote), str(folder.parents[1])]
        done = subprocess.run(command, capture_output=True, text=True)
        assert f"Another process works in {remote}" in done.stdout, done.stderr
        assert set(content(folder)) == {"config.json", "ledger.jsonl"}
        with pytest.raises(UserError, match=f"Received: workdir='{remote}'"), mirrored(str(remote)):
            pass
    with mirrored(str(remote)) as folder:
        assert set(content(folder)) == {"config.json", "ledger.jsonl"}


def test_a_copy_that_fails_is_tried_again(remote, broken):
    with mirrored(str(remote)) as folder:
        begin_run(folder)
        broken += [OSError("busy"), OSError("busy")]
        checkpoint(folder, 1)
        assert not broken and len(content(remote)) == 3


def test_training_goes_on_where_copies_fail_and_a_later_one_brings_all(remote, broken, capsys):
    with mirrored(str(remote)) as folder:
        begin_run(folder)
        broken += [OSError("quota exceeded")] * 3
        checkpoint(folder, 1)
        said = capsys.readouterr().err
        assert re.search(r"could not be copied to .*quota exceeded.*next checkpoint", said)
        assert not content(remote)
        checkpoint(folder, 2)
        assert content(remote) == content(folder)


def test_an_end_that_could_not_be_copied_is_an_error_and_nothing_is_lost(remote, broken):
    with pytest.raises(RunError, match=r"quota exceeded") as error, mirrored(str(remote)) as folder:
        begin_run(folder)
        checkpoint(folder, 1)
        path = checkpoint(folder, 2)
        (folder / "report.html").write_text("done")
        broken += [OSError("quota exceeded")] * 3
    assert str(folder) in str(error.value) and "\n" not in str(error.value)
    assert not (remote / "report.html").exists()
    kept = content(folder)
    with mirrored(str(remote)) as folder:  # the next start copies first, and goes on from there
        assert content(folder) == content(remote) == kept and path.exists()
    (remote / "ledger.jsonl").write_text("gone on elsewhere")
    (folder.parent / f".{folder.name}.unsent").touch()
    with mirrored(str(remote)) as folder:
        assert (folder / "ledger.jsonl").read_text() == "gone on elsewhere"


def test_an_error_of_the_training_is_not_hidden_by_one_of_the_copy(remote, broken, capsys):
    with pytest.raises(KeyError), mirrored(str(remote)) as folder:
        begin_run(folder)
        broken += [OSError("quota exceeded")] * 3
        raise KeyError
    assert "could not be copied" in capsys.readouterr().err


def test_a_new_session_finds_what_the_last_checkpoint_left(remote):
    arrays = {"a": np.array([1.0, 2.0])}
    with pytest.raises(KeyboardInterrupt), mirrored(str(remote)) as folder:
        (folder / "stages").mkdir(parents=True)
        (folder / "ledger.jsonl").write_text("{}\n")
        (folder / ".lock").write_text("")
        store = CheckpointStore(folder / "stages" / "checkpoint", keep=1)
        first = store.save_arrays(arrays, step=1)
        there = remote / first.relative_to(folder)
        assert there.read_bytes() == first.read_bytes()
        assert (remote / "ledger.jsonl").read_text() == "{}\n"
        assert not (remote / ".lock").exists()
        second = store.save_arrays(arrays, step=2)
        assert not there.exists() and (remote / second.relative_to(folder)).exists()
        kept = content(remote)
        raise KeyboardInterrupt  # the session dies
    remote_run.shutil.rmtree(folder)  # and its disk with it
    with mirrored(str(remote)) as folder:
        assert content(folder) == kept


def test_a_file_cut_short_is_never_taken_for_whole(remote):
    there = Mirror(str(remote))
    there.check()
    (remote / "config.json.part").write_text("{")
    there.pull()
    assert not content(there.folder)


def test_fresh_keeps_the_old_run(remote):
    with mirrored(str(remote)) as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text("old")
    with mirrored(str(remote), fresh=True) as folder:
        assert not folder.exists() or not content(folder)
    assert (remote.with_name("cats.old-1") / "config.json").read_text() == "old"


@pytest.mark.parametrize(("workdir", "said"), [
    ("s3://bucket/run", "or gs://"),
    ("/content/drive/MyDrive/run", "not mounted"),
    ("/proc/none/run", "cannot hold a run"),
])  # fmt: skip
def test_a_place_that_cannot_do_it_is_refused_in_one_line(workdir, said):
    with pytest.raises(UserError, match=said) as error, mirrored(workdir):
        pass
    assert "\n" not in str(error.value) and f"workdir={workdir!r}" in str(error.value)

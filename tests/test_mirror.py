"""Runs whose workdir lies on Drive or gs://."""

import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.run_dir import CheckpointStore, mirror, mirrored
from tlkeras.run_dir.mirror import Mirror, is_remote


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A folder that stands for Drive, with the local copies in another place."""
    monkeypatch.setattr(mirror.tempfile, "gettempdir", lambda: str(tmp_path / "local"))
    return tmp_path / "drive" / "runs" / "cats"


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_which_places_are_remote():
    assert (
        is_remote("gs://bucket/run") and is_remote("/content/drive/MyDrive/run") and is_remote("s3://b/run")
    )
    assert not is_remote("runs/x") and not is_remote("/content/runs") and not is_remote(None)


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
    mirror.shutil.rmtree(folder)  # and its disk with it
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

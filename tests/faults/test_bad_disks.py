"""Full and read-only disks, lost and closed files, too little memory: one line, nothing earlier lost."""

import os
import shutil
import subprocess

import pytest
from bad_pictures import encoded, picture
from fault_words import settings, train
from run_outcome import differences, outcome

from tlkeras.run_dir import check_writable, write_text

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def one_line(ended, code):
    """Asserts that a command ended with this code and one line about why."""
    assert ended.code == code, ended
    assert len(ended.error.splitlines()) == 1 and "Traceback" not in ended.output, ended
    return ended.error


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MiB; skipped where this user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if not ROOT or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_during_a_checkpoint(server, small_disk, alone):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(22_800_000))
    said = one_line(server.run(*train(small_disk)), 1)
    assert "No space is left" in said and "free some space" in said
    kept = sorted((small_disk / "run/stages").rglob("step-*"))
    assert kept, "checkpoints written before the disk was full stay"
    ballast.unlink()
    resumed = server.run(*train(small_disk))
    assert resumed.code == 0, resumed.output
    assert differences(alone, outcome(small_disk / "run")) == []


def test_read_only_disk(server, small_disk):
    if subprocess.run(
        ["mount", "-o", "remount,ro", str(small_disk)], capture_output=True, check=False
    ).returncode:
        pytest.skip("cannot mount anything read-only here")
    said = one_line(server.run(*train(small_disk)), 2)
    assert "read-only disk" in said and "--workdir" in said


def test_lost_and_damaged_cache(server, tmp_path):
    stop = {"within": str(tmp_path), "path": "00_head/checkpoint", "at_event": 1}
    assert server.run(*train(tmp_path), **stop).code == -9
    shards = sorted((tmp_path / "cache").rglob("*.bin"))
    assert len(shards) == 2
    shards[0].unlink()
    shards[1].write_bytes(bytes(len(shards[1].read_bytes())))
    ended = server.run(*train(tmp_path))
    assert ended.code == 0, ended.output
    shutil.rmtree(tmp_path / "cache")
    again = server.run("evaluate", f"{tmp_path / 'run'}")
    assert again.code == 0, again.output


def test_picture_that_goes_while_it_trains(server, tmp_path):
    root = tmp_path / "pictures"
    for first, label in enumerate("ab"):
        (root / label).mkdir(parents=True)
        for i in range(40):
            (root / label / f"{i}.png").write_bytes(encoded(picture(40 * first + i), "PNG"))
    more = settings(
        f"data.source=folder:{root}", "data.memory_mb=0", "data.limit=none", "stages.1.epochs=3000"
    )
    command = server.start(*train(tmp_path, *more))
    command.wait_for("[2/2] all: epoch 2/")
    (root / "a/7.png").unlink()
    (root / "b/7.png").unlink()
    said = one_line(command.wait(), 1)
    assert "7.png cannot be opened" in said, said


@pytest.mark.skipif(ROOT, reason="root may write everywhere")
def test_folder_closed_to_this_user(server, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    said = one_line(server.run(*train(tmp_path), f"--workdir={tmp_path / 'closed/run'}"), 2)
    assert "You have no permission for" in said


@pytest.mark.parametrize("workdir", ["file/run", "n" * 300])
def test_path_that_cannot_be(server, tmp_path, workdir):
    (tmp_path / "file").write_text("")
    said = one_line(server.run(*train(tmp_path), f"--workdir={tmp_path / workdir}"), 2)
    assert "--workdir" in said, said


# every command that writes, and the word that says where
WRITERS = {
    "train": ["--config=synthetic_full", "--workdir={}"],
    "train --dry_run": ["--config=synthetic_full", "--dry_run", "--workdir={}"],
    "sweep": ["--config=synthetic_full", "--seeds=2", "--workdir={}"],
    "rank": ["--config=synthetic_full", "--candidates=small_cnn:none", "--workdir={}"],
    "auto": ["--config=synthetic_full", "--workdir={}"],
    "find_lr": ["--config=synthetic_full", "--workdir={}"],
    "profile": ["--config=synthetic_full", "--workdir={}"],
    "predict": ["{run}", "{run}", "--output={}/answers.csv"],
    "embed": ["{run}", "{run}", "--output={}/features.npz"],
    "report": ["{run}", "--output={}/report.html"],
    "compare": ["{run}", "--output={}/compare.html"],
    "reproduce": ["{run}", "--workdir={}"],
}


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a place where nothing can be made")
@pytest.mark.parametrize("command", WRITERS)
def test_place_where_no_folder_can_be_made(server, finished_run, command):
    words = [word.format("/proc/nowhere", run=finished_run) for word in WRITERS[command]]
    ended = server.run(command.split()[0], *words)
    assert "/proc/nowhere" in one_line(ended, 2)
    assert "stage" not in ended.output, "it is said before any work"


@pytest.mark.parametrize("command", WRITERS)
def test_file_in_the_way_and_a_name_too_long(server, finished_run, tmp_path, command):
    (tmp_path / "file").write_text("kept")
    for place in ("file", "file/run", "n" * 300):
        words = [word.format(tmp_path / place, run=finished_run) for word in WRITERS[command]]
        one_line(server.run(command.split()[0], *words), 2)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "kept"


def test_what_is_checked_is_left_as_it_was(tmp_path):
    check_writable(tmp_path / "a/b")
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_folder(server, finished_run, tmp_path):
    one_line(server.run("compare", f"{finished_run}", f"--output={tmp_path}"), 2)


def test_a_pipe_is_written_to_and_stays(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text(pipe, "a line")
    assert os.read(reader, 100) == b"a line" and pipe.is_fifo()
    os.close(reader)


def test_out_of_memory(server, tmp_path):
    said = one_line(server.run(*train(tmp_path, *settings("data.image_size=100000"))), 1)
    assert "Out of memory" in said and "batch_size" in said, said

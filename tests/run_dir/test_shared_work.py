"""Pieces of work are divided among real processes, of which some are killed."""

import json
import signal
import subprocess
import sys
import time

import pytest

from tlkeras.run_dir import InUse, SharedWork, shared_work, waiting

PROGRAM = """
import sys, time
from pathlib import Path
from tlkeras.run_dir import SharedWork, shared_work
from tlkeras.run_dir.atomic import write_text

folder, name, seconds, machine = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4]
shared_work.BEAT, shared_work.LOST_AFTER, shared_work.LOOK_EVERY = 0.05, 2.0, 0.02
if machine != "here":
    shared_work._machine = lambda: machine

def work(piece):
    with open(folder / "log", "a") as log:
        log.write(f"{name} {piece}\\n")
    time.sleep(seconds)
    if piece == "bad":
        return "no luck"
    write_text(folder / piece, name)

(folder / f"{name}.ready").touch()
while len(list(folder.glob("*.ready"))) < int(sys.argv[5]):
    time.sleep(0.01)
pieces = ["bad", *map(str, range(6))]
with SharedWork(folder) as shared:
    print(shared.divide(pieces, work, lambda piece: (folder / piece).is_file()), flush=True)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that takes part: `start(name, seconds of each piece, machine, begin with so many)`."""
    started = []

    def start(name, seconds=0.02, machine="here", together=1):
        words = [sys.executable, "-c", PROGRAM, tmp_path, name, str(seconds), machine, str(together)]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        with process:  # closes the pipe
            process.kill()


@pytest.fixture
def quick(monkeypatch):
    for name, value in (("BEAT", 0.05), ("LOST_AFTER", 0.5), ("LOOK_EVERY", 0.02)):
        monkeypatch.setattr(shared_work, name, value)


def log(folder):
    path = folder / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.is_file() else []


def wait_for(condition):
    until = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.parametrize("said", ["They work.", lambda: "They work.", lambda: ""])
def test_a_wait_is_said_once(said, caplog, monkeypatch):
    slept = []
    monkeypatch.setattr(waiting.time, "sleep", slept.append)
    wait = waiting.Waiting(said, 0.5)
    assert not caplog.records
    for _ in range(3):
        wait.until_next_look()
    assert slept == [0.5] * 3
    text = said if isinstance(said, str) else said()
    assert [record.getMessage() for record in caplog.records] == [text] * bool(text)


def test_each_piece_is_done_once_and_a_failure_is_not_tried_by_each(start, tmp_path):
    processes = [start(name, 0.1, together=3) for name in "abc"]
    said = [process.communicate(timeout=300)[0] for process in processes]
    done = [piece for _, piece in log(tmp_path)]
    assert sorted(done) == sorted(["bad", *map(str, range(6))])
    assert len({name for name, _ in log(tmp_path)}) > 1
    assert [text.splitlines()[-1] for text in said] == [str({"bad": "no luck"})] * 3
    again = start("d").communicate(timeout=300)[0]  # all have ended: what had failed is tried once more
    assert log(tmp_path)[-1] == ["d", "bad"] and len(log(tmp_path)) == 8
    assert again.splitlines()[-1] == str({"bad": "no luck"})


@pytest.mark.parametrize("machine", ["here", "another"])
def test_another_process_takes_up_the_piece_of_a_killed_one(start, tmp_path, machine):
    killed = start("a", 60, machine)
    wait_for(lambda: log(tmp_path))
    helper = start("b")
    wait_for(lambda: len(log(tmp_path)) == 7)  # all others, while the first process is alive
    assert helper.poll() is None
    killed.send_signal(signal.SIGKILL)  # its parent has not waited for it: it is a zombie
    helper.communicate(timeout=300)
    assert log(tmp_path)[-1] == ["b", "bad"] and len(log(tmp_path)) == 8


def test_a_process_of_another_machine_that_lives_keeps_its_piece(start, tmp_path):
    other = start("a", 5, "another")
    wait_for(lambda: log(tmp_path))
    helper = start("b")
    other.communicate(timeout=300)
    helper.communicate(timeout=300)
    assert sorted(piece for _, piece in log(tmp_path)) == sorted(["bad", *map(str, range(6))])


def test_interrupted_piece_is_given_back(tmp_path, quick):
    def interrupted(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), SharedWork(tmp_path) as shared:
        shared.divide(["x"], interrupted, lambda name: False)
    assert json.loads((tmp_path / ".work/claims/x.1").read_text())["state"] == "given back"
    with SharedWork(tmp_path) as shared:
        assert shared.number == 1 and shared.take("x") is not None
        assert shared.take("x") is None  # a thread of the same process has it


def test_piece_in_use_elsewhere_is_left_for_later(tmp_path, quick, capsys):
    tries = []

    def work(name):
        tries.append(name)
        if tries == ["x"]:
            raise InUse("Another process works in x")

    with SharedWork(tmp_path) as shared:
        shared.divide(["x", "y"], work, lambda name: tries.count(name) > (name == "x"))
    assert tries == ["x", "y", "x"]
    assert "x is left for later: Another process works in x" in capsys.readouterr().out


def test_a_file_is_written_once_and_damaged_files_keep_nothing_forever(tmp_path, quick):
    (tmp_path / ".work/claims").mkdir(parents=True)
    (tmp_path / ".work/claims/marker.1").touch()  # killed between creating and writing
    with SharedWork(tmp_path) as shared:
        shared.once(tmp_path / "marker", lambda path: path.write_text("mine"))
        shared.once(tmp_path / "marker", lambda path: path.write_text("other"))
    assert (tmp_path / "marker").read_text() == "mine"


def test_process_number_in_use_again_does_not_count(tmp_path, quick):
    with SharedWork(tmp_path) as shared:
        assert shared.take("x") is not None
    facts = json.loads((tmp_path / ".work/processes/0.json").read_text())
    facts |= {"ended": False, "started": "another time"}  # of a process that had our number before us
    (tmp_path / ".work/processes/0.json").write_text(json.dumps(facts))
    with SharedWork(tmp_path) as shared:
        assert shared.take("x") is not None


def test_of_many_that_take_a_piece_at_once_one_gets_it(tmp_path, monkeypatch):
    """All look before any of them creates the file of its claim."""
    with SharedWork(tmp_path) as first, SharedWork(tmp_path) as second:
        assert (first.number, second.number) == (0, 1)
        monkeypatch.setattr(SharedWork, "_newest", lambda self, name: 0)
        assert [shared.take("x") is not None for shared in (first, second, first)] == [True, False, False]

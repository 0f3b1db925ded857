"""The run directory: whole files, ledger, lock, refusals."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tlkeras.errors import RunError, UserError
from tlkeras.run_dir import (
    Ledger,
    RunDir,
    config_differences,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
)

CONFIG = {"name": "x", "stages": [{"name": "head", "epochs": 3}], "data": {"limit": None}}


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@contextlib.contextmanager
def spawned(code, *arguments):
    """A Python process that has printed its first line; it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        process.stdout.readline()
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def test_replacing_keeps_the_old_file_when_the_body_fails(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        assert temporary.suffix == ".json" and temporary.parent == tmp_path
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and names(tmp_path) == ["a.json"]


def test_replacing_takes_folders(tmp_path):
    for content in ("one", "two"):
        with replacing(tmp_path / "export") as temporary:
            (temporary / "variables").mkdir(parents=True)
            (temporary / "variables" / content).write_text(content)
    assert names(tmp_path) == ["export", "two", "variables"]


def test_json_holds_what_numpy_gives_and_no_nan(tmp_path):
    np = pytest.importorskip("numpy")
    write_json(tmp_path / "a.json", {"x": np.float32(0.5), "n": np.arange(2), "bad": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 0.5, "n": [0, 1], "bad": None}


def test_undecodable_file_names_can_be_written(tmp_path):
    write_text(tmp_path / "a.txt", "caf\udce9")
    assert (tmp_path / "a.txt").read_text("utf-8") == "caf\\udce9"


WRITER = """
import sys
from tlkeras.run_dir import write_text
print("ready", flush=True)
number = 0
while True:
    number += 1
    write_text(sys.argv[1], f"{number % 10}" * 400_000)
"""


def test_kill_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a.txt"
    for attempt in range(6):
        with spawned(WRITER, path):
            while not path.exists():  # the first one, however busy the machine is
                time.sleep(0.001)
            time.sleep(0.013 * attempt)
        text = path.read_text()
        assert len(text) == 400_000 and len(set(text)) == 1
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("number", "kind", "advice"),
    [
        (errno.ENOSPC, RunError, "free some space"),
        (errno.EROFS, UserError, "choose another place"),
        (errno.EACCES, UserError, "change its permissions"),
    ],
)
def test_disk_errors_say_what_to_do(tmp_path, monkeypatch, number, kind, advice):
    write_text(tmp_path / "a.txt", "old")

    def refuse(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(kind, match=advice) as caught:
        write_text(tmp_path / "a.txt", "new")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)
    assert (tmp_path / "a.txt").read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_ledger_reads_what_was_appended(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert ledger.records() == [] and ledger.last() is None
    ledger.append(stage="head", event="started")
    ledger.append(stage="head", event="finished", epochs=2)
    ledger.append(stage="all", event="started")
    assert [record["event"] for record in ledger.records()] == ["started", "finished", "started"]
    assert ledger.last(stage="head")["epochs"] == 2
    assert ledger.last(event="finished")["stage"] == "head"


@pytest.mark.parametrize(
    "half", [b'{"stage": "he', b'{"stage": "head", "event": "finished"}', b"\x00" * 9000]
)
def test_half_written_last_line_is_no_event(tmp_path, half):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(stage="head", event="started")
    with open(ledger.path, "ab") as file:
        file.write(half)
    assert [record["event"] for record in ledger.records()] == ["started"]
    ledger.append(stage="head", event="finished")
    assert [record["event"] for record in ledger.records()] == ["started", "finished"]


def test_full_disk_leaves_the_ledger_whole(tmp_path, monkeypatch):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append(stage="head", event="started")
    write = os.pwrite

    def fill(descriptor, data, offset):
        if len(data) <= 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) - 10], offset)

    monkeypatch.setattr(os, "pwrite", fill)
    with pytest.raises(RunError, match="No space"):
        ledger.append(stage="head", event="finished")
    monkeypatch.undo()
    assert ledger.path.read_bytes().count(b"\n") == 1 and ledger.path.read_bytes().endswith(b"}\n")


HOLDER = """
import json, sys, time
from tlkeras.run_dir import RunDir
RunDir(sys.argv[1]).start(json.loads(sys.argv[2]))
print("held", flush=True)
time.sleep(60)
"""


def test_second_process_is_refused_until_the_first_is_dead(tmp_path):
    workdir = tmp_path / "run"
    with spawned(HOLDER, workdir, json.dumps(CONFIG)) as process:
        before = {path: path.read_bytes() for path in workdir.iterdir()}
        for fresh in (False, True):
            with pytest.raises(UserError, match=f"Another process works.*process {process.pid} on"):
                RunDir(workdir).start(CONFIG, fresh=fresh)
        assert {path: path.read_bytes() for path in workdir.iterdir()} == before
    run_dir = RunDir(workdir)
    assert run_dir.start(CONFIG) == "resume"
    run_dir.lock.release()


def test_life_of_a_run(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    assert run_dir.check(CONFIG) == "new" and not run_dir.path.exists()
    assert run_dir.start(CONFIG) == "new"
    run_dir.lock.release()
    (run_dir.path / ".best.0123abcd.tmp.keras").write_text("left by a killed process")
    assert run_dir.start(CONFIG) == "resume"
    assert names(run_dir.path) == [".lock", "config.json"]
    run_dir.mark_stage_done(0, "head")
    assert (run_dir.path / "stages/00_head/DONE").exists()
    run_dir.mark_finished()
    run_dir.lock.release()
    assert RunDir(run_dir.path).start(CONFIG) == "finished"


def test_another_config_is_refused_with_the_differences(tmp_path):
    run_dir = RunDir(tmp_path / "run")
    run_dir.start(CONFIG)
    run_dir.lock.release()
    before = names(run_dir.path)
    other = {"name": "x", "stages": [{"name": "head", "epochs": 7}], "data": {"limit": 5}}
    with pytest.raises(UserError, match=r"stages\.0\.epochs: received 7, there 3") as caught:
        run_dir.start(other)
    assert "data.limit: received 5, there null" in str(caught.value)
    assert names(run_dir.path) == before
    assert run_dir.check(CONFIG | {"runtime": {"strategy": "mirrored", "devices": 2}}) == "resume"


def test_differences_name_what_only_one_has():
    assert sorted(config_differences({"a": [1, 2]}, {"a": [1], "b": {}})) == [
        "a.1: received 2, there nothing",
        "b: received nothing, there {}",
    ]


def test_fresh_keeps_the_old_run(tmp_path):
    for number in range(3):
        run_dir = RunDir(tmp_path / "run")
        assert run_dir.start({"number": number}, fresh=True) == "new"
        run_dir.lock.release()
    kept = {path.name: json.loads((path / "config.json").read_text()) for path in tmp_path.iterdir()}
    assert kept == {"run": {"number": 2}, "run.old-1": {"number": 0}, "run.old-2": {"number": 1}}


def test_folders_that_are_no_run_are_refused(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    for fresh in (False, True):
        with pytest.raises(UserError, match=r"not empty.*cat\.jpg"):
            RunDir(tmp_path / "photos").start(CONFIG, fresh=fresh)
    assert names(tmp_path) == ["cat.jpg", "photos"]
    with pytest.raises(UserError, match="must be a folder"):
        RunDir(tmp_path / "photos" / "cat.jpg").start(CONFIG)
    with pytest.raises(UserError, match="not a run directory"):
        RunDir(tmp_path / "photos").require_run()
    with pytest.raises(UserError, match="does not exist"):
        RunDir(tmp_path / "nothing").require_run()


def test_damaged_config_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match="damaged"):
        RunDir(tmp_path).start(CONFIG)


def test_rows_round_trip(tmp_path):
    run_dir = RunDir(tmp_path)
    path = run_dir.stage_metrics(0, "head")
    assert run_dir.read_rows(path) == []
    run_dir.write_rows(path, [{"epoch": 0, "loss": 0.1}, {"epoch": 1, "loss": 0.25, "val_loss": 2}])
    assert [row["val_loss"] for row in run_dir.read_rows(path)] == ["", "2"]
    assert float(run_dir.read_rows(path)[1]["loss"]) == 0.25


def test_a_relative_run_reads_and_writes_where_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run_dir = RunDir("runs/here")
    run_dir.write_json(run_dir.manifest, {"a": 1})
    run_dir.write_json("evaluation/metrics.json", {"b": 2})
    assert json.loads((tmp_path / "runs/here/manifest.json").read_text()) == {"a": 1}
    assert run_dir.read_json("manifest.json") == run_dir.read_json(run_dir.manifest) == {"a": 1}
    assert run_dir.read_json(run_dir.evaluation / "metrics.json") == {"b": 2}

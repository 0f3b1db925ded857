"""What every tracker of a run gets to know, also after a resume and after an error."""

import importlib.util
import json
import os
import signal
import struct

import keras
import numpy as np
import pytest

from tlkeras import run_experiment
from tlkeras.config import load_config
from tlkeras.errors import Interrupted, UserError
from tlkeras.evaluation import Predictions, judge
from tlkeras.evaluation.log_loss import with_log_loss
from tlkeras.run_dir import RunDir
from tlkeras.tracking import TRACKERS, Tracker, TrackerKind, Tracking, tracking


class Notebook(Tracker):
    """Writes down all calls, and raises an error at the calls named in `failures`."""

    calls: list = []
    failures: list = []

    def __init__(self, facts, server="here"):
        self.facts = facts
        self.server = server

    def _write(self, *call):
        if self.failures and call[0] == self.failures[0]:
            del self.failures[0]
            raise ConnectionError("the line is cut\nand more about it")
        self.calls.append(call)

    def begin(self):
        there = [call[1] for call in self.calls if call[0] == "log"]
        self._write("begin", self.facts, self.server)
        return there

    def log(self, step, metrics):
        self._write("log", step, metrics)

    def finish(self, metrics, tags, files):
        self._write("finish", metrics, tags, [path.name for path in files])

    def close(self, status):
        self._write("close", status)

    @property
    def place(self):
        return "in memory"


@pytest.fixture
def notebook(monkeypatch):
    monkeypatch.setitem(TRACKERS._entries, "notebook", TrackerKind("For tests.", Notebook))
    Notebook.calls, Notebook.failures = [], []
    return Notebook


def config(**changes):
    return {
        "name": "tracked",
        "data": {"source": "arrays", "batch_size": 16},
        "model": {"backbone": "mlp", "weights": None},
        "stages": [
            {"name": "head", "train": "head", "epochs": 1},
            {"name": "all", "train": "all", "epochs": 2},
        ],
        "runtime": {"strategy": "none"},
        "tensorboard": {"images": False},
        "tracking": ["notebook"],
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    x = random.normal(size=(80, 4)).astype("float32")
    y = (x[:, 0] > 0).astype(int)
    return {"train": (x[:48], y[:48]), "val": (x[48:64], y[48:64]), "test": (x[64:], y[64:])}


class StopsAt(keras.callbacks.Callback):
    """Sends a signal to its own process after so many epochs."""

    def __init__(self, epochs):
        super().__init__()
        self.epochs = epochs

    def on_epoch_end(self, epoch, logs=None):
        self.epochs -= 1
        if self.epochs == 0:
            os.kill(os.getpid(), signal.SIGTERM)

    def get_state(self):
        return {}

    def set_state(self, state):
        pass


def test_a_resumed_run_reports_everything_once_under_its_identifier(notebook, arrays, tmp_path, capsys):
    with pytest.raises(Interrupted):
        run_experiment(config(), tmp_path / "run", arrays, callbacks=[StopsAt(2)])
    assert notebook.calls[-1] == ("close", "KILLED")
    run_experiment(
        config(tracking=[{"name": "notebook", "options": {"server": "moved"}}]), tmp_path / "run", arrays
    )

    begins = [call for call in notebook.calls if call[0] == "begin"]
    assert [server for _, _, server in begins] == ["here", "moved"], "another server is no other experiment"
    facts = begins[0][1]
    assert facts == begins[1][1] and len(facts.id) == 8 and facts.name == "tracked"
    assert facts.parameters["model.backbone"] == "mlp" and facts.parameters["stages.1.epochs"] == 2
    assert not any(path.startswith("tracking") for path in facts.parameters), "an address may hold a password"

    logged = {call[1]: call[2] for call in notebook.calls if call[0] == "log"}
    steps = [call[1] for call in notebook.calls if call[0] == "log"]
    assert steps == [3, 6, 9], "each epoch once, at the step that TensorBoard shows"
    rows = [
        row
        for stage in ("00_head", "01_all")
        for row in RunDir(tmp_path / "run").read_rows(f"stages/{stage}/metrics.csv")
    ]
    assert [logged[int(row["step"])]["val_loss"] for row in rows] == [float(row["val_loss"]) for row in rows]
    assert [values["stage"] for values in logged.values()] == [0, 1, 1]

    (_, metrics, tags, files) = notebook.calls[-2]
    evaluated = json.loads((tmp_path / "run/evaluation/metrics.json").read_text())
    assert metrics["source/test/accuracy"] == evaluated["source"]["test"]["accuracy"]
    assert {"config.json", "report.html", "best.keras", "metrics.json"} <= set(files)
    assert "verdict" not in tags and notebook.calls[-1] == ("close", "FINISHED")
    assert capsys.readouterr().err == ""


def test_a_tracker_that_fails_ends_no_training(notebook, arrays, tmp_path, capsys):
    notebook.failures = ["log", "close"]
    run_experiment(config(), tmp_path / "run", arrays)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "tlkeras: The tracker notebook fails: the line is cut. Training goes on, and at its end the run is "
        "reported once more."
    ]
    assert [call[0] for call in notebook.calls] == ["begin", "begin", "log", "log", "log", "finish"]
    assert RunDir(tmp_path / "run").is_finished


@pytest.mark.parametrize(
    "tracking, message",
    [
        ("notbook", "Unknown tracker 'notbook'. Did you mean 'notebook'?"),
        ({"name": "notebook", "options": {"servr": "x"}}, "'servr'. Did you mean 'server'?"),
        ("mlflow", "The tracker mlflow needs the package mlflow: pip install -e '.[mlflow]'"),
        ("wandb", "The tracker wandb needs the package wandb: pip install -e '.[wandb]'"),
    ],
)
def test_a_tracker_that_does_not_exist_is_refused_first(
    notebook, arrays, tmp_path, monkeypatch, tracking, message
):
    find = importlib.util.find_spec
    absent = lambda name, *more: None if name in ("mlflow", "wandb") else find(name, *more)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", absent)
    with pytest.raises(UserError) as caught:
        run_experiment(config(tracking=[tracking]), tmp_path / "run", arrays)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_two_trackers_of_one_name_are_refused():
    with pytest.raises(UserError, match="tracking must have different names"):
        load_config(config(tracking=["mlflow", "mlflow"]))


@pytest.fixture
def books(tmp_path):
    """The files of a run that has finished its first two epochs."""
    run_dir = RunDir(tmp_path / "run")
    rows = [{"epoch": 1, "step": 8, "loss": "0.5"}, {"epoch": 2, "step": 16, "loss": "0.25"}]
    run_dir.write_rows("stages/00_all/metrics.csv", rows)
    run_dir.write_json("config.json", {})
    run_dir.write_json(
        "evaluation/metrics.json", {"target": {"test": {"rows": 4, "loss": 0.1, "auc": float("nan")}}}
    )
    labels = np.arange(200) % 2
    certain, even = (
        Predictions.from_logits(np.eye(2)[labels] * size, task="multiclass", labels=labels)
        for size in (3, 0.1)
    )
    sides = [certain], [even]
    verdict = with_log_loss(judge(*sides), *sides, [(1.0, 1.0)])
    run_dir.write_json("evaluation/verdict.json", verdict.to_json())
    return run_dir


def test_the_verdict_and_the_log_loss_are_tags(notebook, books):
    with Tracking(load_config(config()), books) as found:
        found.finish()
    (_, metrics, tags, files) = notebook.calls[-2]
    assert (tags["verdict"], tags["log_loss"]) == ("no_difference", "fell")
    fall = np.log(1 + np.exp(-0.1)) - np.log(1 + np.exp(-3))
    assert metrics == {
        "target/test/rows": 4, "target/test/loss": 0.1, "verdict/gain": 0,
        "verdict/log_loss_gain": pytest.approx(fall),
    }  # fmt: skip
    assert files == ["config.json", "metrics.json", "verdict.json"]
    # a verdict of an earlier version, and one on a regression
    for none in ({}, {"log_loss": None}):
        books.write_json("evaluation/verdict.json", {"verdict": "helped", "gain": 0.125} | none)
        with Tracking(load_config(config()), books) as found:
            found.finish()
        (_, metrics, tags, _) = notebook.calls[-2]
        assert metrics["verdict/gain"] == 0.125 and tags["verdict"] == "helped"
        assert not any("log_loss" in name for name in [*metrics, *tags])


def test_only_the_chief_has_trackers(notebook, books):
    with Tracking(load_config(config()), None) as found:
        found.report()
        found.finish()
    assert notebook.calls == [] and not (books.path / tracking.FILE).exists()


def records(path):
    """Yields the records of a file of Weights & Biases: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, at, record = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = struct.unpack("<HB", data[at + 4 : at + 7])
        record += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # the whole of a record, or its last part
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def items(entries):
    return {entry.key or "/".join(entry.nested_key): json.loads(entry.value_json) for entry in entries}


def test_wandb_keeps_one_offline_run(books, capfd):
    import wandb

    tracked = load_config(config(tracking=[{"name": "wandb", "options": {"project": "of_tests"}}]))
    with Tracking(tracked, books) as found:
        found.report()
    rows = books.read_rows("stages/00_all/metrics.csv")
    books.write_rows("stages/00_all/metrics.csv", [*rows, {"epoch": 3, "step": 24, "loss": "0.125"}])
    with Tracking(tracked, books) as found:
        found.report()
        found.finish()
    wandb.teardown()  # waits for the process that writes the files
    identifier = books.read_json(tracking.FILE)["id"]
    (folder,) = (books.path / "wandb").glob("offline-run-*")
    assert folder.name.endswith(identifier)
    told = list(records(folder / f"run-{identifier}.wandb"))
    history = [items(r.history.item) for r in told if r.WhichOneof("record_type") == "history"]
    assert [(row["_step"], row["loss"]) for row in history] == [(8, 0.5), (16, 0.25), (24, 0.125)]
    run = [r.run for r in told if r.WhichOneof("record_type") == "run"]
    assert {r.run_id for r in run} == {identifier} and {r.project for r in run} == {"of_tests"}
    assert items(run[0].config.update)["model.backbone"] == "mlp"
    assert {"verdict: no_difference", "log_loss: fell"} <= set(run[-1].tags)
    summary = items(u for r in told if r.WhichOneof("record_type") == "summary" for u in r.summary.update)
    assert summary["verdict"] == "no_difference" and summary["target/test/loss"] == 0.1
    assert summary["log_loss"] == "fell" and summary["verdict/log_loss_gain"] > 0
    assert (folder / "files/evaluation/metrics.json").is_file()
    assert capfd.readouterr().err == ""

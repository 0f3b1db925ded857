import csv
import json
import subprocess
import sys
import time

import pytest

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.run_dir import InUse, RunDir
from tlkeras.studies.sweep import run_sweep
from tlkeras.studies.sweep_plan import plan_sweep
from tlkeras.studies.sweep_results import means_over_seeds

pytestmark = pytest.mark.usefixtures("without_reports")

CONFIG = """
from tlkeras.config import ExperimentConfig

def get_config():
    return ExperimentConfig(
        name="heads",
        data={"source": "digits", "image_size": 8, "limit": 64},
        model={"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4]}},
        stages=[{"name": "head", "train": "head", "epochs": 1}],
    )

def sweep():
    yield {"model.head.name": "linear", "stages.0.optimizer.learning_rate": 0.01}
    yield ["model.head.name=cosine"]
    yield {"model.head.name": "mlp", "model.head.units": [8, 4], "stages.0.early_stopping": None}
"""


@pytest.fixture
def config_file(tmp_path):
    (tmp_path / "heads.py").write_text(CONFIG)
    return tmp_path / "heads.py"


def _rows(folder):
    with open(folder / "sweep.csv", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_plan_is_typed_named_and_seeded(config_file):
    runs = plan_sweep(str(config_file), ["seed=5"], seeds=2)
    assert [run.name for run in runs] == [f"heads_{i}" for i in range(6)]
    assert [run.seed for run in runs] == [5, 6] * 3 == [run.config.seed for run in runs]
    assert runs[4].config.model.head.units == (8, 4)
    assert runs[0].config.stages[0].optimizer.learning_rate == 0.01


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    yield {'model.head.nam': 'x'}\n    yield {}", "Did you mean 'name'"),
        ("    yield 7\n    yield {}", "Received: 7"),
        ("    raise KeyError('oh')\n    yield {}", "KeyError"),
        ("    yield {}", "two runs or more"),
    ],
)
def test_a_wrong_sweep_is_one_line_and_touches_nothing(config_file, capsys, body, said):
    config_file.write_text(CONFIG.partition("def sweep")[0] + f"def sweep():\n{body}\n")
    workdir = config_file.parent / "s"
    assert main(["sweep", f"--config={config_file}", f"--workdir={workdir}"]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not workdir.exists()


def test_a_sweep_runs_lists_failures_and_resumes(config_file, monkeypatch):
    workdir = config_file.parent / "s"
    runs = plan_sweep(str(config_file))
    trained = []

    def failing(config, path):
        trained.append(config.name)
        if config.model.head.name == "cosine":
            raise RuntimeError("no luck")
        return run_experiment(config, path)

    monkeypatch.setattr("tlkeras.studies.sweep.run_experiment", failing)
    rows = run_sweep(runs, workdir)
    assert [row["run"] for row in rows][-1] == "heads_1" and "no luck" in rows[-1]["error"]
    done = (workdir / "heads_0" / "best.keras").stat().st_mtime_ns

    monkeypatch.setattr("tlkeras.studies.sweep.run_experiment", run_experiment)
    rows = run_sweep(runs, workdir)
    assert not any(row["error"] for row in rows)
    assert (workdir / "heads_0" / "best.keras").stat().st_mtime_ns == done
    accuracies = [float(row["val_accuracy"]) for row in _rows(workdir)]
    assert accuracies == sorted(accuracies, reverse=True)
    metrics = json.loads((workdir / "heads_2" / "evaluation" / "metrics.json").read_text())
    row = next(row for row in rows if row["run"] == "heads_2")
    assert row["test_accuracy"] == metrics["source"]["test"]["accuracy"]
    assert row["model.head.units"] == "[8, 4]"
    page = (workdir / "compare.html").read_text()
    assert all(f"heads_{i}" in page for i in range(3))


def test_another_sweep_in_the_workdir_is_refused(config_file, tmp_path):
    workdir = tmp_path / "s"
    workdir.mkdir()
    (workdir / "photo.jpg").write_text("x")
    runs = plan_sweep(str(config_file))
    with pytest.raises(UserError, match="no sweep and is not empty"):
        run_sweep(runs, workdir)
    (workdir / "photo.jpg").rename(workdir / "sweep.json")
    (workdir / "sweep.json").write_text(json.dumps({"heads_0": {"overrides": ["seed=3"]}}))
    with pytest.raises(UserError, match=r"another sweep.*heads_0\.overrides\.0"):
        run_sweep(runs, workdir)
    assert [p.name for p in workdir.iterdir()] == ["sweep.json"]


def test_processes_of_their_own_give_the_same_weights(config_file, tmp_path, capsys):
    from tlkeras.studies.reproduce import _difference

    config_file.write_text(CONFIG.replace("def sweep", "def unused"))
    words = ["sweep", f"--config={config_file}", "--seeds=2"]
    assert main([*words, f"--workdir={tmp_path / 'one'}"]) == 0
    assert main([*words, f"--workdir={tmp_path / 'two'}", "--processes=2"]) == 0
    assert "Means over 2 seeds" in capsys.readouterr().out
    for name in ("heads_0", "heads_1"):
        assert RunDir(tmp_path / "two" / name).is_finished
        assert _difference(*(tmp_path / w / name / "best.keras" for w in ("one", "two"))) == 0.0
    assert (tmp_path / "two" / "logs" / "heads_1.txt").read_text()


def test_another_process_takes_up_the_run_of_a_killed_one(config_file, tmp_path, monkeypatch):
    workdir = tmp_path / "s"
    words = [sys.executable, "-m", "tlkeras", "sweep", f"--config={config_file}", f"--workdir={workdir}"]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as first:
        until = time.monotonic() + 120
        while not (workdir / "heads_0" / "config.json").is_file() and time.monotonic() < until:
            time.sleep(0.02)
        first.kill()
    trained = []
    monkeypatch.setattr(
        "tlkeras.studies.sweep.run_experiment",
        lambda config, path: trained.append(config.name) or run_experiment(config, path),
    )
    rows = run_sweep(plan_sweep(str(config_file)), workdir)
    assert trained == ["heads_0", "heads_1", "heads_2"] and not any(row["error"] for row in rows)
    claims = workdir / ".work" / "claims"
    assert json.loads((claims / "heads_0.1").read_text()) == {"process": 0, "state": "working", "reason": ""}
    assert json.loads((claims / "heads_0.2").read_text())["state"] == "done"
    assert run_sweep(plan_sweep(str(config_file)), workdir) == rows and len(trained) == 3  # one that is late


@pytest.mark.parametrize("processes", [1, 2])
def test_run_in_which_another_process_works_is_left_for_later(config_file, monkeypatch, processes, capsys):
    workdir = config_file.parent / "s"
    monkeypatch.setattr("tlkeras.run_dir.shared_work.LOST_AFTER", 0.2)
    runs, in_use = plan_sweep(str(config_file)), [True]

    def stand_in(run):
        if in_use and run.name == "heads_0":
            in_use.clear()
            raise InUse("Another process works in it")
        RunDir(workdir / run.name).start(run.config.model_dump(mode="json"))
        RunDir(workdir / run.name).mark_finished()
        return ""

    monkeypatch.setattr("tlkeras.studies.sweep._here", lambda run, folder: stand_in(run))
    monkeypatch.setattr("tlkeras.studies.sweep._Children.train", lambda self, run: stand_in(run))
    monkeypatch.setattr("tlkeras.studies.sweep.results_table", lambda runs, folder, failures: [])
    assert run_sweep(runs, workdir, processes) == []
    assert all(RunDir(workdir / run.name).is_finished for run in runs)
    assert "heads_0 is left for later: Another process works in it" in capsys.readouterr().out


def test_a_sweep_needs_a_folder(config_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"A sweep needs a folder.* Received: workdir='gs:/bucket/x'"):
        run_sweep(plan_sweep(str(config_file)), "gs://bucket/x")
    assert not (tmp_path / "gs:").exists()


def test_means_over_seeds():
    rows = [
        {"run": f"r{i}", "head": head, "seed": i, "val_accuracy": value, "seconds": 1.0, "error": ""}
        for i, (head, value) in enumerate([("a", 0.5), ("b", 0.9), ("a", 0.7)])
    ]
    table = means_over_seeds(rows)
    assert [row["head"] for row in table] == ["b", "a"]
    assert table[1]["val_accuracy"] == pytest.approx(0.6) and table[1]["seeds"] == 2
    assert table[1]["val_accuracy (sd)"] == pytest.approx(0.1414, abs=1e-3)

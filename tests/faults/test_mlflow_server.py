"""A run that is killed and resumed, as MLflow's own server shows it over its REST interface."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest
from fault_words import settings, train
from free_ports import free_ports

from tlkeras.run_dir import RunDir
from tlkeras.tracking import report_run

# the client alone, mlflow-skinny, brings no SQLAlchemy
pytestmark = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("mlflow", "sqlalchemy")),
    reason="MLflow's server is not installed (package mlflow)",
)


class Mlflow:
    """A tracking server with SQLite, and its answers."""

    def __init__(self, folder):
        self.address = f"http://127.0.0.1:{free_ports(1)[0]}"
        words = f"--backend-store-uri sqlite:///{folder}/runs.db --artifacts-destination {folder}/files "
        words += f"--workers 1 --port {self.address.rpartition(':')[2]}"
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with open(folder / "log", "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words.split()],
                env=os.environ | quiet, stdout=log, stderr=log, cwd=folder,
            )  # fmt: skip
        self.folder = folder
        end = time.monotonic() + 300
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.address}/health", timeout=60).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError((folder / "log").read_text())

    def ask(self, path, **given):
        """Returns the answer to a POST request with JSON, or to a GET request if nothing is given."""
        data = json.dumps(given).encode() if given else None
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def run(self):
        """Returns the only run."""
        experiment = self.ask("experiments/get-by-name?experiment_name=of_tests")["experiment"]
        (found,) = self.ask("runs/search", experiment_ids=[experiment["experiment_id"]])["runs"]
        return found

    def points(self, run_id, metric):
        """Returns `(step, value)` of all points of a metric."""
        found = self.ask(f"metrics/get-history?run_id={run_id}&metric_key={metric}").get("metrics", [])
        return sorted((int(point["step"]), point["value"]) for point in found)

    def file(self, name):
        """Returns the content of the only artefact of this name."""
        (path,) = (self.folder / "files").rglob(name)
        return path.read_bytes()

    def close(self):
        self.process.terminate()
        self.process.wait()


@pytest.fixture
def mlflow(tmp_path):
    folder = tmp_path / "mlflow"
    folder.mkdir()
    found = Mlflow(folder)
    yield found
    found.close()


def test_the_server_shows_a_killed_run_as_one(server, mlflow, tmp_path):
    trackers = [{"name": "mlflow", "options": {"uri": mlflow.address, "experiment": "of_tests"}}]
    words = train(tmp_path, *settings(f"tracking={json.dumps(trackers)}", "checkpoint.every_steps=none"))
    # the first checkpoint of the stage follows its last step, the second one the end of the epoch
    killed = server.run(*words, within=str(tmp_path), path="01_all/checkpoint", at_event=4)
    assert killed.code == -9, killed.output
    before = mlflow.run()["info"]
    assert before["status"] == "RUNNING"
    reported = [step for step, _ in mlflow.points(before["run_id"], "loss")]
    assert reported == [4, 8, 12], "the last epoch is reported, and its checkpoint is lost with the process"

    resumed = server.run(*words)
    assert resumed.code == 0 and "fails" not in resumed.output, resumed.output
    run = mlflow.run()
    assert run["info"]["run_id"] == before["run_id"] and run["info"]["status"] == "FINISHED"
    run_dir = RunDir(tmp_path / "run")
    rows = [
        row for stage in ("00_head", "01_all") for row in run_dir.read_rows(f"stages/{stage}/metrics.csv")
    ]
    for name in ("loss", "val_accuracy", "learning_rate"):
        wanted = [(int(row["step"]), float(row[name])) for row in rows]
        assert mlflow.points(before["run_id"], name) == wanted, "each epoch once"

    parameters = {entry["key"]: entry["value"] for entry in run["data"]["params"]}
    assert parameters["model.backbone"] == "small_cnn" and parameters["stages.1.epochs"] == "2"
    evaluated = run_dir.read_json("evaluation/metrics.json")["source"]["test"]
    metrics = {entry["key"]: entry["value"] for entry in run["data"]["metrics"]}
    assert metrics["source/test/accuracy"] == evaluated["accuracy"]
    files = {file["path"] for file in mlflow.ask(f"artifacts/list?run_id={before['run_id']}")["files"]}
    assert files == {"best.keras", "config.json", "evaluation", "report.html"}
    assert mlflow.file("best.keras") == run_dir.best_model.read_bytes()

    # what a twin would have added
    loss = {"verdict": "fell", "gain": 0.25}
    run_dir.write_json("evaluation/verdict.json", {"verdict": "helped", "gain": 0.125, "log_loss": loss})
    report_run(run_dir.path, trackers)
    data = mlflow.run()["data"]
    tags = {entry["key"]: entry["value"] for entry in data["tags"]}
    metrics = {entry["key"]: entry["value"] for entry in data["metrics"]}
    assert (tags["verdict"], tags["log_loss"]) == ("helped", "fell")
    assert (metrics["verdict/gain"], metrics["verdict/log_loss_gain"]) == (0.125, 0.25)

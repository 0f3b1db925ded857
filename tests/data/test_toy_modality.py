"""A kind of input that the package does not know takes part in everything, by what is added from outside."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import token_modality

from tlkeras import load_config, load_run, run_experiment
from tlkeras.errors import UserError

HERE = Path(__file__).parent
CONFIG = {
    "name": "tokens",
    "data": {"source": "texts:1", "batch_size": 16},
    "model": {"backbone": "bag_of_words", "weights": None},
    "checkpoint": {"every_steps": 1},
    "stages": [
        {"name": "head", "train": "head", "epochs": 2, "optimizer": {"learning_rate": 0.01}},
        {"name": "all", "train": "all", "epochs": 12, "optimizer": {"learning_rate": 0.02}},
    ],
}


def config(tmp_path, *words):
    return load_config(CONFIG, [f"cache.dir={tmp_path / 'cache'}", *words])


def weights(path):
    return [np.asarray(w) for w in load_run(path).model.get_weights()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens")
    return run_experiment(config(folder), folder / "run")


def events(run):
    return [json.loads(line) for line in (run.path / "ledger.jsonl").read_text().splitlines()]


def test_it_trains_and_predicts(finished):
    assert finished.metrics["source"]["test"]["accuracy"] > 0.9
    table = token_modality.texts("5", None, 0).splits["all"]
    answers = finished.predict(table.inputs)
    assert (answers.predicted == table.labels).mean() > 0.9
    with pytest.raises(UserError, match=r"batch of shape \(n, 8\)\. Received: \(3, 5\)"):
        finished.predict(np.ones((3, 5)))
    with pytest.raises(UserError, match="takes texts, not files"):
        finished.predict_files("somewhere")
    assert finished.evaluate()["source"] == finished.metrics["source"]


@pytest.mark.usefixtures("without_report")
def test_the_trunk_is_computed_once_and_gives_the_same_bits(finished, tmp_path):
    first = next(e for e in events(finished) if e["event"] == "completed")
    assert first["extraction_seconds"] > 0 and list((finished.path.parent / "cache").iterdir())
    plain = run_experiment(config(tmp_path, "cache.enabled=false"), tmp_path / "run")
    for one, other in zip(weights(finished.path), weights(plain.path), strict=True):
        assert one.tobytes() == other.tobytes()


def test_the_report_shows_the_words(finished):
    index = json.loads((finished.path / "evaluation/gallery/index.json").read_text())
    worst = index[0]
    assert (
        worst["words"] and len(worst["weights"]) == len(worst["words"]) and worst["method"] == "leaving out"
    )
    assert "picture" not in worst and worst["neighbors"][0]["words"]
    page = (finished.path / "report.html").read_text("utf-8")
    shown = re.sub(r"<[^>]+>", "", page)
    assert " ".join(worst["words"]) in " ".join(shown.split())


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(
        UserError,
        match=r"texts cannot have. Allowed: none.*'flip': 'horizontal'",
    ):
        run_experiment(config(tmp_path, "stages.1.augment.flip=horizontal"), tmp_path / "run")
    with pytest.raises(UserError, match="small_cnn takes images, and the data are texts"):
        run_experiment(config(tmp_path, "model.backbone=small_cnn"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_report")
def test_a_killed_run_goes_on_to_the_same_bits(finished, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(config(tmp_path).model_dump_json())
    program = "from tlkeras.cli.main import entry; entry()"
    words = ["train", f"--config={path}", f"--workdir={tmp_path / 'run'}"]
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environ = {**os.environ, "TLKERAS_EXTENSIONS": "token_modality", "PYTHONPATH": paths}
    command = [sys.executable, "-c", program, *words]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    second = tmp_path / "run" / "stages" / "01_all"
    while process.poll() is None and len(list(second.glob("checkpoint*/*"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "run" / "best.keras").exists()
    assert run_experiment(config(tmp_path), tmp_path / "run").run_dir.ledger.last(event="resumed") is not None
    for one, other in zip(weights(finished.path), weights(tmp_path / "run"), strict=True):
        assert one.tobytes() == other.tobytes()

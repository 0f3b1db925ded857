"""A run belongs to its data: with other data it is neither handed out, nor continued, nor evaluated again."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tlkeras import load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError

pytestmark = pytest.mark.usefixtures("without_reports")

CONFIG = {
    "name": "small",
    "data": {"batch_size": 8},
    "model": {"backbone": "mlp", "weights": None, "backbone_options": {"units": [4]}},
    "stages": [{"name": "all", "train": "all", "epochs": 1}],
}
X = np.random.default_rng(0).normal(size=(48, 5))
Y = np.arange(48) % 2


def data(x):
    return {"train": (x, Y), "val": (x[:8], Y[:8]), "test": (x[:16], Y[:16])}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run_experiment(CONFIG | {"data": {"source": "digits", "batch_size": 8}},
                          tmp_path_factory.mktemp("changed") / "run", data(X))  # fmt: skip


def test_a_finished_run_is_not_that_of_other_arrays(finished):
    assert run_experiment(finished.config, finished.path, data(X)).metrics == finished.metrics
    with pytest.raises(UserError, match=r"data of the source domain have changed.*fresh=True"):
        run_experiment(finished.config, finished.path, data(-X))


def test_an_interrupted_run_does_not_go_on_with_other_arrays(finished, tmp_path):
    path = shutil.copytree(finished.path, tmp_path / "run")
    ledger = path / "ledger.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if '"finished"' not in line))
    before = sorted((file.name, file.stat().st_mtime_ns) for file in path.rglob("*"))
    with pytest.raises(UserError, match="data of the source domain have changed"):
        run_experiment(finished.config, path, data(-X))
    assert sorted((file.name, file.stat().st_mtime_ns) for file in path.rglob("*")) == before
    assert run_experiment(finished.config, path, data(X)).metrics == finished.metrics


def test_pictures_that_changed_are_not_evaluated_under_the_name_of_the_run(tmp_path, capsys):
    for i in range(24):
        place = tmp_path / "pictures" / "ab"[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(place / f"{i}.png")
    source = f"folder:{tmp_path / 'pictures'}"
    model = {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4]}}
    config = CONFIG | {"model": model, "data": {"source": source, "image_size": 8, "batch_size": 8}}
    run = run_experiment(config, tmp_path / "run")
    written = (run.path / "evaluation/metrics.json").read_bytes()
    (tmp_path / "pictures/a/0.png").unlink()
    assert main(["evaluate", str(run.path)]) == 2
    assert "data of the source domain have changed" in capsys.readouterr().err
    assert (run.path / "evaluation/metrics.json").read_bytes() == written
    assert load_run(run.path).evaluate(f"data.source={source}")["source"]

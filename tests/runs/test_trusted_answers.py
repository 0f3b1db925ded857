"""Calibrated probabilities, conformal sets, and the distance to the training rows, of finished runs."""

import csv
import json
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from tlkeras import load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.evaluation.calibration import fit_temperature
from tlkeras.evaluation.predictions import Predictions
from tlkeras.export import export_run
from tlkeras.models.probabilities import softmax

TEMPERATURE, UNLIKE = "evaluation/calibration.json", "evaluation/unlike_training.npz"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run that makes mistakes."""
    config = {
        "data": {"source": "digits", "limit": 200, "batch_size": 20, "image_size": 8},
        "model": {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [16]}},
        "stages": [{"name": "all", "train": "all", "epochs": 4, "optimizer": {"learning_rate": 3e-2}}],
    }
    return run_experiment(config, tmp_path_factory.mktemp("trust") / "run")


def vectors(tmp_path, y, splits=("train", "val"), **data):
    x = np.random.default_rng(1).normal(size=(80, 4)).astype(np.float32)
    config = {
        "data": {"source": "digits", "batch_size": 20, **data},
        "model": {"backbone": "mlp", "weights": None, "backbone_options": {"units": [8]}},
        "stages": [{"name": "all", "train": "all", "epochs": 2}],
    }
    return run_experiment(config, tmp_path / "run", dict.fromkeys(splits, (x, y(x)))), x


def test_predict_and_exports_divide_the_logits_by_one_factor(finished):
    x = np.random.default_rng(2).integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    temperature = json.loads((finished.path / TEMPERATURE).read_text())["temperature"]
    raw = Predictions.load(finished.path / "evaluation/predictions_val.npz")
    assert temperature == fit_temperature(raw) == finished.temperature != 1
    logits = finished.model.predict(x.astype(np.float32), verbose=0)
    found = finished.predict(x)
    np.testing.assert_allclose(found.probabilities, softmax(logits / temperature), atol=1e-6)
    np.testing.assert_array_equal(found.predicted, logits.argmax(axis=1))
    export_run(finished, ["keras", "litert"])
    exported = keras.models.load_model(finished.path / "export/keras/model.keras", compile=False)
    np.testing.assert_allclose(
        exported.predict(x.astype(np.float32), verbose=0), found.probabilities, atol=1e-5
    )
    said = json.loads((finished.path / "export/litert/model.json").read_text())
    assert said["temperature"] == temperature and said["parity"]["difference"] < 1e-5
    assert f"{temperature:.4g}" in (finished.path / "export/serve.md").read_text()


def test_the_table_of_predict_has_sets_and_distances(finished, tmp_path, capsys):
    for name in ("a.png", "b.png"):
        picture = np.random.default_rng(len(name)).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / name)
    words = [str(finished.path), str(tmp_path), "--coverage=.9", "--sets=adaptive"]
    assert main(["predict", *words]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    found, _ = finished.predict_files(tmp_path)
    sets = finished.conformal_sets(found, 0.9, "adaptive")
    for row, members, unlike in zip(rows, sets, found.unlike_training, strict=True):
        assert row["set"].split("|") == [finished.class_names[i] for i in np.flatnonzero(members)] or [""]
        assert float(row["unlike_training"]) == pytest.approx(unlike, abs=1e-5)
    assert main(["predict", *words, "--format=jsonl"]) == 0
    line = json.loads(capsys.readouterr().out.splitlines()[0])
    assert isinstance(line["set"], list) and line["unlike_training"] == float(rows[0]["unlike_training"])
    assert main(["predict", *words[:2], "--coverage=.999"]) == 2
    assert "needs at least 999 validation rows" in capsys.readouterr().err
    assert main(["predict", *words[:2], "--sets=adaptiv"]) == 2
    assert "--sets takes threshold, adaptive, regularized" in capsys.readouterr().err


def test_a_run_of_an_earlier_version_answers_as_before_until_it_is_evaluated(finished, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(finished.path, old)
    before = {name: (old / name).read_bytes() for name in (TEMPERATURE, "evaluation/predictions.csv")}
    for name in (TEMPERATURE, UNLIKE):
        (old / name).unlink()
    tree = json.loads((old / "config.json").read_text())
    del tree["export"]
    (old / "config.json").write_text(json.dumps(tree))
    x = np.zeros((2, 8, 8, 3), np.uint8)
    run = load_run(old)
    logits = run.model.predict(x.astype(np.float32), verbose=0)
    np.testing.assert_allclose(run.predict(x).probabilities, softmax(logits), atol=1e-6)
    assert run.predict(x).unlike_training is None
    run.evaluate()
    assert {name: (old / name).read_bytes() for name in before} == before
    np.testing.assert_array_equal(run.predict(x).probabilities, finished.predict(x).probabilities)
    np.testing.assert_array_equal(run.predict(x).unlike_training, finished.predict(x).unlike_training)


def test_a_run_without_validation_rows_says_so(tmp_path, capsys):
    run, x = vectors(tmp_path, lambda x: (x[:, 0] > 0).astype(int), splits=("train", "test"), val_fraction=0)
    assert "are not calibrated, because there are no validation rows" in capsys.readouterr().out
    assert run.temperature == 1 and not (run.path / UNLIKE).exists()
    assert run.predict(x).unlike_training is None
    with pytest.raises(UserError, match="needs validation rows with labels"):
        run.conformal_sets(run.predict(x))


def test_a_regression_has_intervals(tmp_path, capsys):
    run, x = vectors(tmp_path, lambda x: x[:, :1] + x[:, 1:2], task="regression")
    assert "calibrat" not in capsys.readouterr().out and run.temperature == 1
    found = run.predict(x)
    low, high = run.conformal_intervals(found, 0.9)[:, 0].T
    truth = x[:, 0] + x[:, 1]  # the validation rows are the training rows here
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.9, abs=0.05)
    assert (found.unlike_training < 1).mean() == pytest.approx(0.95, abs=0.02)
    with pytest.raises(UserError, match="a regression has intervals"):
        run.conformal_sets(found)

"""Every run can be judged by what the same budget gives without the transfer."""

import contextlib
import io
import json

import numpy as np
import pytest
from pydantic import ValidationError

from tlkeras import run_experiment
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    VerdictConfig,
    load_config,
)
from tlkeras.evaluation import Predictions
from tlkeras.studies.twins import twin_config


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Returns a config whose runs and twins share the features of a cache."""
    return ExperimentConfig(
        name="judged",
        data=DataConfig(source="digits", image_size=8, per_class=10),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [8, 16]}),
        stages=[
            StageConfig(name="head", epochs=4, optimizer=OptimizerConfig(learning_rate=0.01)),
            StageConfig(name="tune", train="last:1", epochs=2, optimizer=OptimizerConfig(learning_rate=1e-3)),
        ],
        cache={"dir": str(tmp_path_factory.mktemp("cache")), "extractor": "exact"},
        verdict=VerdictConfig(twins=["scratch", "random_features", "frozen_probe"]),
    )


@pytest.fixture(scope="module")
def judged(config, tmp_path_factory):
    """Returns a finished run with its three twins, and what it printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run = run_experiment(config, tmp_path_factory.mktemp("judged") / "run")
    return run, printed.getvalue()


def test_scratch_takes_as_many_steps_with_batch_statistics_of_short_memory(config):
    scratch = twin_config(config, "scratch", steps=37)
    (stage,) = scratch.stages
    assert (stage.train, stage.bn, stage.steps) == ("all", "train", 37)
    assert stage.optimizer.learning_rate == 0.01 and scratch.model.bn_momentum == 0.9
    assert scratch.model.weights is None and scratch.data == config.data and scratch.seed == config.seed


@pytest.mark.parametrize(
    ("twin", "text_weights"), [("scratch", None), ("random_features", None), ("frozen_probe", "FOLDER")]
)
def test_twins_of_several_backbones_know_what_the_run_knows_in_none_of_them(twin, text_weights):
    config = load_config("emoji_by_picture_and_name", ["model.beside.text.weights=FOLDER"])
    changed = twin_config(config, twin, steps=10)
    assert changed.model.beside["text"].weights == text_weights
    load_config(changed.model_dump(mode="json"))  # a config that a run can write and read again


def test_momentum_reaches_every_batch_norm():
    import keras

    from tlkeras.models import build_model

    model = build_model(
        ModelConfig(backbone="mobilenet_v2", weights=None, bn_momentum=0.9),
        input_shape=(32, 32, 3), num_outputs=2,
    )  # fmt: skip
    found = {x.momentum for x in model.backbone.layers if isinstance(x, keras.layers.BatchNormalization)}
    assert found == {0.9}


def test_run_with_twins_ends_with_a_verdict_over_each(judged):
    run, _ = judged
    verdict = json.loads((run.path / "evaluation" / "verdict.json").read_text())
    assert list(verdict["twins"]) == ["scratch", "random_features", "frozen_probe"]
    assert verdict["verdict"] == verdict["twins"]["scratch"]["verdict"]
    assert verdict["twin_name"] == "from scratch"
    accuracy = run.metrics["source"]["test"]["accuracy"]
    for name, found in verdict["twins"].items():
        metrics = json.loads((run.path / "twins" / name / "evaluation" / "metrics.json").read_text())
        gain = accuracy - metrics["source"]["test"]["accuracy"]
        assert found["gain"] == pytest.approx(gain, abs=1e-9)
        assert found["interval"][0] <= gain <= found["interval"][1]
    steps = [e["steps"] for e in run.run_dir.ledger.records() if e["event"] == "completed"]
    scratch = load_config(str(run.path / "twins" / "scratch" / "config.json"))
    assert scratch.stages[0].steps == sum(steps)


def test_the_log_loss_at_fitted_temperatures_is_told_beside_each_verdict(judged):
    run, printed = judged
    page = (run.path / "report.html").read_text("utf-8")
    verdict = json.loads((run.path / "evaluation" / "verdict.json").read_text())
    for name, found in verdict["twins"].items():
        for side, path in (("run", run.path), ("twin", run.path / "twins" / name)):
            temperature = json.loads((path / "evaluation/calibration.json").read_text())["temperature"]
            assert temperature != 1
            probabilities = Predictions.load(path / "evaluation/predictions_test.npz").at_temperature(
                temperature
            )
            right = probabilities.probabilities[np.arange(len(probabilities)), probabilities.labels]
            assert found["log_loss"][side] == pytest.approx(-np.log(np.maximum(right, 0.001)).mean())
        assert found["log_loss"]["calibrated"] and found["log_loss"]["sentence"] in page
        assert found["log_loss"]["sentence"] in printed
    events = b"".join(path.read_bytes() for path in (run.path / "tensorboard").glob("*.after"))
    for sentence in (verdict["sentence"], verdict["log_loss"]["sentence"]):
        assert sentence.encode() in events  # texts of an event file are not compressed


@pytest.mark.usefixtures("without_report")
def test_probabilities_without_validation_rows_are_compared_as_they_are(config, tmp_path):
    update = {
        "data": config.data.model_copy(update={"val_fraction": 0.0}),
        "verdict": VerdictConfig(twins=["frozen_probe"]),
    }
    run = run_experiment(config.model_copy(update=update), tmp_path / "run")
    loss = json.loads((run.path / "evaluation" / "verdict.json").read_text())["log_loss"]
    assert not loss["calibrated"] and "over-confidence counts too" in loss["sentence"]


@pytest.mark.usefixtures("without_report")
def test_further_seeds_have_twins_of_their_own(config, tmp_path):
    update = {
        "stages": config.stages[:1],
        "verdict": VerdictConfig(twins=["random_features"], seeds=2),
    }
    run = run_experiment(config.model_copy(update=update), tmp_path / "run")
    verdict = json.loads((run.path / "evaluation" / "verdict.json").read_text())
    assert verdict["seeds"] == 2 and len(verdict["gains"]) == 2
    assert (run.path / "seeds/1/twins/random_features/evaluation/metrics.json").is_file()
    assert {"twins/random_features", "seeds/1"} <= run.runs.keys()
    # a run of version 0.1 has its twins in `baselines`
    (run.path / "twins").rename(run.path / "baselines")
    assert "baselines/random_features" in run.runs and run.run_dir.twin("random_features").is_run


@pytest.mark.usefixtures("without_report")
def test_a_related_source_helps(config, tmp_path):
    """The head on features that learned digits, against the head on random features."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images = np.round(x.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    source = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=8),
        model=config.model,
        stages=[
            StageConfig(name="all", train="all", bn="train", epochs=8, optimizer={"learning_rate": 0.01})
        ],
    )
    run_experiment(
        source, tmp_path / "good", {"train": (images[:900], y[:900]), "test": (images[:200], y[:200])}
    )
    update = {
        "model": config.model.model_copy(update={"weights": str(tmp_path / "good")}),
        "verdict": VerdictConfig(twins=["random_features"]),
        "stages": config.stages[:1],
    }
    helped = run_experiment(config.model_copy(update=update), tmp_path / "helped")
    verdict = json.loads((helped.path / "evaluation" / "verdict.json").read_text())
    assert verdict["verdict"] == "helped" and verdict["advice"] is None


def test_source_only_without_adaptation_is_refused(config):
    with pytest.raises(ValidationError, match="source_only is the twin of an adaptation"):
        ExperimentConfig.model_validate(config.model_dump() | {"verdict": {"twins": ["source_only"]}})

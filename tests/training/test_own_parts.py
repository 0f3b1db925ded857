"""Losses and metrics by name, and losses, metrics and callbacks that a caller passes."""

import csv
import os
import signal

import keras
import numpy as np
import pytest
import sklearn.metrics

from tlkeras import run_experiment
from tlkeras.config import MetricConfig, with_own_parts
from tlkeras.config.loading import load_config
from tlkeras.errors import Interrupted, UserError
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.named_metrics import METRICS, named_values
from tlkeras.models.weights import saved_models
from tlkeras.report import compare_runs
from tlkeras.run_dir import CheckpointStore
from tlkeras.training.losses import LOSSES, make_loss


def softmax(x):
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def config(**changes):
    return {
        "name": "own",
        "data": {"source": "arrays", "batch_size": 16},
        "model": {"backbone": "mlp", "weights": None},
        "stages": [{"name": "all", "train": "all", "epochs": 3}],
        "runtime": {"strategy": "none"},
        "tensorboard": {"images": False},
    } | changes


@pytest.fixture(scope="module")
def arrays():
    random = np.random.default_rng(0)
    x = random.normal(size=(140, 6)).astype("float32")
    y = (x[:, 0] + x[:, 1] > 0).astype(int) + (x[:, 2] > 1)
    return {"train": (x[:90], y[:90]), "val": (x[90:115], y[90:115]), "test": (x[115:], y[115:])}


class Steps(keras.callbacks.Callback):
    """Counts the batches it sees, and at one of them sends a signal to its own process."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.count, self.stop_at = 0, stop_at

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1
        if self.count == self.stop_at:
            os.kill(os.getpid(), signal.SIGTERM)

    def get_state(self):
        return {"count": self.count}

    def set_state(self, state):
        self.count = state["count"]


def test_losses_follow_their_formulas():
    random = np.random.default_rng(1)
    logits = random.normal(size=(20, 4)).astype("float32")
    truth = np.eye(4, dtype="float32")[random.integers(0, 4, 20)]
    p = softmax(logits)[truth > 0]
    generalized = make_loss("generalized_cross_entropy", "multiclass", {"q": 0.5}, 0.0)
    assert np.isclose(generalized(truth, logits), np.mean((1 - p**0.5) / 0.5), atol=1e-6)

    several = random.integers(0, 2, (20, 4)).astype("float32")
    p = 1 / (1 + np.exp(-logits))
    shifted = np.maximum(p - 0.1, 0)
    expected = several * (1 - p) * np.log(p) + (1 - several) * shifted**3 * np.log(1 - shifted)
    options = {"gamma_negative": 3.0, "gamma_positive": 1.0, "margin": 0.1}
    assert np.isclose(
        make_loss("asymmetric", "multilabel", options, 0.0)(several, logits), -expected.mean(), atol=1e-6
    )

    error = several - logits
    expected = np.maximum(0.9 * error, -0.1 * error).mean()
    assert np.isclose(
        make_loss("quantile", "regression", {"quantile": 0.9}, 0.0)(several, logits), expected, atol=1e-6
    )


def test_every_loss_trains_each_of_its_tasks():
    random = np.random.default_rng(2)
    logits = keras.ops.convert_to_tensor(random.normal(size=(8, 3)).astype("float32"))
    labels = {
        "multiclass": np.eye(3, dtype="float32")[random.integers(0, 3, 8)],
        "binary": random.integers(0, 2, (8, 3)).astype("float32"),
        "multilabel": random.integers(0, 2, (8, 3)).astype("float32"),
        "regression": random.normal(size=(8, 3)).astype("float32"),
    }
    for name, row in LOSSES.items():
        for task in row.classes:
            value = float(make_loss(name, task, {}, 0.0)(labels[task], logits))
            assert np.isfinite(value) and value > 0, (name, task)


def test_recommended_label_smoothing_is_that_of_rows_of_one_class():
    logits = np.random.default_rng(4).normal(size=(8, 3)).astype("float32")
    labels = np.eye(3, dtype="float32")[np.arange(8) % 3]
    smoothed = set()
    for name, row in LOSSES.items():
        for task in row.classes:
            plain, recommended = (
                float(make_loss(name, task, {}, smoothing)(labels, logits))
                for smoothing in (0.0, "recommended")
            )
            if recommended != plain:
                smoothed.add((name, task))
                assert recommended == float(make_loss(name, task, {}, 0.1)(labels, logits))
    assert smoothed == {("cross_entropy", "multiclass"), ("focal", "multiclass")}


@pytest.mark.parametrize(
    "name, task, options, message",
    [
        ("huber", "multiclass", {}, "huber is a loss for regression. Allowed for multiclass: cross_entropy"),
        ("focal", "multiclass", {"gama": 2}, "'gama'. Did you mean 'gamma'"),
        ("focal", "multiclass", {"from_logits": False}, "from_logits"),
        ("quantile", "regression", {"quantile": 2}, "(0, 1)"),
        ("fokal", "multiclass", {}, "Did you mean 'focal'"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(name, task, options, message):
    with pytest.raises(UserError) as caught:
        make_loss(name, task, options, 0.0)
    assert message in str(caught.value)


def test_metrics_agree_with_scikit_learn():
    random = np.random.default_rng(3)
    labels, logits = random.integers(0, 3, 60), random.normal(size=(60, 3))
    logits[np.arange(40), labels[:40]] += 2
    found = logits.argmax(1)
    values = named_values(
        Predictions.from_logits(logits, task="multiclass", labels=labels),
        [MetricConfig(name=n) for n in METRICS.names() if "multiclass" in METRICS.get(n).tasks],
    )
    assert np.isclose(values["balanced_accuracy"], sklearn.metrics.balanced_accuracy_score(labels, found))
    assert np.isclose(values["cohen_kappa"], sklearn.metrics.cohen_kappa_score(labels, found), atol=1e-6)
    assert np.isclose(
        values["matthews_correlation"], sklearn.metrics.matthews_corrcoef(labels, found), atol=1e-6
    )
    assert np.isclose(values["f_beta"], sklearn.metrics.f1_score(labels, found, average="macro"), atol=1e-6)
    expected = sklearn.metrics.roc_auc_score(labels, softmax(logits), multi_class="ovr")
    assert np.isclose(values["auc"], expected, atol=0.01)

    labels, logits = random.integers(0, 2, 60), random.normal(size=(60, 1))
    values = named_values(
        Predictions.from_logits(logits, task="binary", labels=labels),
        [MetricConfig(name="cohen_kappa"), MetricConfig(name="f_beta", options={"beta": 2.0})],
    )
    found = (logits[:, 0] > 0).astype(int)
    assert np.isclose(values["cohen_kappa"], sklearn.metrics.cohen_kappa_score(labels, found), atol=1e-6)
    assert np.isclose(values["f_beta"], sklearn.metrics.fbeta_score(labels, found, beta=2), atol=1e-6)


def parts(stop_at=None):
    return {
        "loss": keras.losses.CategoricalFocalCrossentropy(from_logits=True, gamma=1.0),
        "metrics": [keras.metrics.AUC(name="area", multi_label=True, num_labels=3), "cohen_kappa"],
        "callbacks": [Steps(stop_at)],
    }


@pytest.mark.usefixtures("without_report")
def test_own_parts_train_and_resume_to_the_same_bits(tmp_path, arrays):
    wanted = config(metrics=["area"], checkpoint={"monitor": "val_area"})
    whole = parts()
    run = run_experiment(wanted, tmp_path / "whole", arrays, **whole)
    assert whole["callbacks"][0].count == 15
    test = run.metrics["source"]["test"]
    assert 0 < test["area"] <= 1 and "cohen_kappa" in test
    assert run.config.stages[0].loss.name == "python:CategoricalFocalCrossentropy"

    with pytest.raises(Interrupted):
        run_experiment(wanted, tmp_path / "killed", arrays, **parts(stop_at=8))
    later = parts()
    resumed = run_experiment(wanted, tmp_path / "killed", arrays, **later)
    assert later["callbacks"][0].count == 15  # 8 of the first process, restored, and 7 of the second
    for a, b in zip(run.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    usual = run_experiment(config(), tmp_path / "usual", arrays)
    assert not np.array_equal(usual.model.get_weights()[0], run.model.get_weights()[0])
    assert "area" not in usual.metrics["source"]["test"]


@pytest.mark.usefixtures("without_report")
def test_named_loss_and_metrics_of_a_config(tmp_path, arrays):
    stages = [{"name": "all", "train": "all", "epochs": 1, "loss": {"name": "hinge"}}]
    run = run_experiment(config(stages=stages, metrics=["balanced_accuracy"]), tmp_path / "run", arrays)
    log = (run.path / "stages" / "00_all" / "metrics.csv").read_text().splitlines()
    assert "val_balanced_accuracy" in log[0]
    assert 0 <= run.metrics["source"]["test"]["balanced_accuracy"] <= 1


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss"])
@pytest.mark.parametrize("weights", [None, "balanced"])
def test_smoothed_labels_of_a_stage_do_not_hide_that_it_is_the_best(tmp_path, monitor, weights):
    x = np.random.default_rng(6).normal(size=(90, 4)).astype("float32")
    y = (x[:, 0] > 0).astype(int) + (x[:, 1] > 0.8)
    x[:, :2] += np.where(x[:, :2] > [0, 0.8], 3, -3)  # far apart, so that both stages make no mistake
    common = {"train": "all", "class_weights": weights}
    stages = [
        {"name": "plain", "epochs": 1, "optimizer": {"learning_rate": 0.03}, **common},
        {"name": "smoothed", "epochs": 6, "label_smoothing": 0.1, **common},
    ]
    wanted = config(stages=stages, checkpoint={"monitor": monitor})
    run = run_experiment(wanted, tmp_path / "run", {"train": (x, y), "val": (x, y)})
    plain, smoothed = (
        columns(run.path / "stages" / name / "metrics.csv") for name in ("00_plain", "01_smoothed")
    )
    assert max(plain["val_accuracy"]) == max(smoothed["val_accuracy"]) == 1
    assert min(plain["val_loss"]) < min(smoothed["val_loss"])  # smoothed labels raise it
    assert min(smoothed["val_unsmoothed_loss"]) < min(plain["val_loss"])
    assert "val_unsmoothed_loss" not in plain
    assert CheckpointStore(run.path / "stages" / "best", keep=1).state()["stage"] == 1


def columns(file):
    with open(file, encoding="utf-8", newline="") as lines:
        header, *rows = csv.reader(lines)
    return {name: [float(value) for value in values] for name, *values in zip(header, *rows, strict=True)}


@pytest.mark.parametrize(
    "loss, given, refused",
    [
        (None, {}, "The loss mean_squared_error has no label smoothing"),
        ({"name": "huber"}, {}, "The loss huber has no label smoothing"),
        (None, {"loss": keras.losses.LogCosh()}, "brings its own label smoothing"),
    ],
)
def test_a_regression_trains_with_recommended_label_smoothing_and_refuses_a_number(
    tmp_path, arrays, loss, given, refused
):
    values = {split: (x, x[:, 0]) for split, (x, _) in arrays.items()}

    def run(smoothing):
        stage = {"name": "all", "train": "all", "epochs": 2, "loss": loss, "label_smoothing": smoothing}
        data = {"source": "arrays", "batch_size": 16, "task": "regression"}
        return run_experiment(config(data=data, stages=[stage]), tmp_path / str(smoothing), values, **given)

    plain, recommended = run(0.0), run("recommended")
    for a, b in zip(plain.model.get_weights(), recommended.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UserError, match=refused):
        run(0.1)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"loss": keras.losses.CategoricalCrossentropy()}, "from_logits=True"),
        ({"loss": 3}, "loss must be a name"),
        ({"metrics": [3]}, "metrics must be names"),
        ({"metrics": ["auc", "auc"]}, "different names"),
        ({"callbacks": [3]}, "callbacks must be Keras callbacks"),
    ],
)
def test_objects_of_another_kind_are_refused(given, message):
    with pytest.raises(UserError) as caught:
        with_own_parts(load_config(config()), **given)
    assert message in str(caught.value)


def test_a_loss_from_python_must_be_passed_again():
    recorded, _ = with_own_parts(load_config(config()), loss=keras.losses.CategoricalHinge())
    with pytest.raises(UserError, match="pass it again"):
        with_own_parts(recorded)


def test_a_monitor_that_no_metric_has_is_refused():
    with pytest.raises(UserError, match="val_area"):
        load_config(config(checkpoint={"monitor": "val_area"}))
    load_config(config(checkpoint={"monitor": "val_area"}, metrics=["area"]))


def own_backbone():
    """Returns a functional model whose layers have the names that Keras gives."""
    x = inputs = keras.Input((6,))
    for width in (8, 10, 12):
        x = keras.layers.Dense(width, activation="relu")(x)
        x = keras.layers.BatchNormalization()(x)
    model = keras.Model(inputs, x)
    random = np.random.default_rng(5)
    model.set_weights([random.normal(0, 0.5, weight.shape) ** 2 for weight in model.get_weights()])
    return model


@pytest.mark.usefixtures("without_report")
def test_a_model_passed_as_backbone_starts_with_its_weights_and_resumes_without_it(tmp_path, arrays):
    stages = [{"name": "head", "epochs": 1}, {"name": "tune", "train": "last:1", "epochs": 2}]
    wanted, model = config(stages=stages, model={}, checkpoint={"monitor": "last_step"}), own_backbone()
    names = [layer.name for layer in model.layers if layer.weights]
    start = {layer.name: layer.get_weights() for layer in model.layers}
    run = run_experiment(wanted, tmp_path / "whole", arrays, backbone=model)
    moved = [n for n in names if not np.array_equal(run.model.get_layer(n).get_weights()[0], start[n][0])]
    assert (
        moved == names[4:5]
    )  # the last Dense layer: the normalisation after it belongs to its block, frozen
    for layer in model.layers:  # training used a copy
        for a, b in zip(layer.get_weights(), start[layer.name], strict=True):
            np.testing.assert_array_equal(a, b)

    with pytest.raises(Interrupted):
        run_experiment(wanted, tmp_path / "killed", arrays, backbone=model, callbacks=[Steps(stop_at=8)])
    saved_models.PASSED.clear()  # as in another process
    resumed = run_experiment(tmp_path / "killed" / "config.json", tmp_path / "killed", arrays)
    for a, b in zip(run.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)

    wanted["model"] = {"weights": None}
    random = run_experiment(wanted, tmp_path / "random", arrays, backbone=model)
    assert not np.array_equal(random.model.get_layer(names[0]).get_weights()[0], start[names[0]][0])


@pytest.mark.usefixtures("without_report")
def test_a_backbone_from_python_answers_whole_numbers_as_fractions(tmp_path):
    x = np.random.default_rng(7).integers(0, 256, (30, 8, 8, 3), np.uint8)
    pixels = keras.Input((8, 8, 3))
    shifted = keras.layers.Conv2D(4, 3, activation="relu")(keras.ops.subtract(pixels, 128))
    backbone = keras.Model(pixels, keras.layers.BatchNormalization()(shifted))
    stages = [{"name": "all", "train": "all", "epochs": 1}]
    data = {"train": (x, np.arange(30) % 3)}
    run = run_experiment(config(model={}, stages=stages), tmp_path / "run", data, backbone=backbone)
    expected = run.model.predict(x.astype("float32"), verbose=0)
    for dtype in (np.uint8, np.int64, np.float32):
        found = run.predict(x.astype(dtype))
        np.testing.assert_allclose(found.logits * run.temperature, expected, atol=1e-4)


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    "backbone, message",
    [
        (lambda: Subclassed(), "of class Subclassed"),
        (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "takes inputs of shape (4,)"),
        (lambda: "mlp", "backbone must be a functional Keras model"),
    ],
)
def test_a_model_that_cannot_be_a_backbone_is_refused(tmp_path, arrays, backbone, message):
    with pytest.raises(UserError) as caught:
        run_experiment(config(), tmp_path / "run", arrays, backbone=backbone())
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def judged(arrays, tmp_path_factory):
    """A run that a metric from Python judges, with a twin."""
    stage = {"name": "all", "train": "all", "epochs": 4, "early_stopping": {"patience": 1}}
    wanted = config(
        judged_by="f1", stages=[stage], verdict={"twins": ["frozen_probe"]}, metrics=["macro_f1", "accuracy"]
    )
    own = keras.metrics.F1Score(average="macro", name="f1")
    return run_experiment(wanted, tmp_path_factory.mktemp("judged") / "run", arrays, metrics=[own])


def test_one_field_chooses_epoch_stops_and_judges(judged):
    history = judged.history["val_f1"].tolist()
    best = int(np.argmax(history))
    facts = (judged.path / "report.html").read_text()
    assert f"epoch {best + 1} of all, by val f1" in facts
    assert len(history) == 4 or best == len(history) - 2  # patience 1
    verdict = judged.verdict
    assert verdict["metric"] == "f1" and verdict["run"] == pytest.approx(
        judged.metrics["source"]["test"]["f1"]
    )
    assert "f1 " in verdict["sentence"] and verdict["sentence"] in facts
    values = judged.metrics["source"]["test"]
    low, high = values["interval"]["f1"]
    assert low < values["f1"] < high
    assert "source test: f1" in repr(judged)
    assert "source test f1" in judged._repr_html_() and ">f1</figcaption>" in judged._repr_html_()


def test_a_comparison_goes_by_the_metric_that_all_runs_name(judged):
    (row,) = compare_runs([judged.path])
    assert row["metric"] == "accuracy"  # f1 was passed from Python, and files hold no metrics
    saved = judged.run_dir.config
    text = saved.read_text()
    try:
        saved.write_text(text.replace('"judged_by": "f1"', '"judged_by": "macro_f1"'))
        (row,) = compare_runs([judged.path])
    finally:
        saved.write_text(text)
    assert row["metric"] == "macro_f1"
    assert row["score"] == pytest.approx(judged.metrics["source"]["test"]["macro_f1"])
    assert row["low"] < row["score"] < row["high"]


@pytest.mark.parametrize("stage", [{"train": "all"}, {"probe": {"name": "logistic_regression"}}])
def test_a_judge_that_does_not_fit_is_refused(arrays, tmp_path, stage):
    wanted = config(judged_by="mae", stages=[{"name": "all", **stage}])
    with pytest.raises(
        UserError, match=r"mae is a metric for regression\. Allowed for multiclass: accuracy,"
    ):
        run_experiment(wanted, tmp_path / "run", arrays)
    assert not (tmp_path / "run").exists()

"""Metrics against scikit-learn and against numbers worked out by hand."""

import json

import numpy as np
import pytest
from sklearn import metrics as sk

from tlkeras.evaluation import (
    Predictions,
    compute_metrics,
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
from tlkeras.evaluation.by_rows import top_k_hits
from tlkeras.evaluation.metrics import sensitivity_at_specificity


def multiclass(rows=200, classes=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    logits = rng.normal(size=(rows, classes)) * 2 + 2 * np.eye(classes)[labels]
    return Predictions.from_logits(logits, task="multiclass", labels=labels)


def test_multiclass_equals_scikit_learn():
    predictions = multiclass()
    labels, predicted = predictions.labels, predictions.predicted
    got = compute_metrics(predictions)
    assert got["rows"] == 200 and got["top_k"] == 5
    assert got["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert got["loss"] == pytest.approx(sk.log_loss(labels, predictions.probabilities))
    assert got["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert got["top_k_accuracy"] == pytest.approx(sk.top_k_accuracy_score(labels, predictions.logits, k=5))
    rows = sk.precision_recall_fscore_support(labels, predicted)
    for index, expected in enumerate(zip(*rows, strict=True)):
        ours = got["per_class"][str(index)]
        assert [ours[key] for key in ("precision", "recall", "f1", "support")] == pytest.approx(
            list(expected)
        )


def test_absent_classes_are_no_warning_and_no_zero_in_the_mean():
    logits = np.eye(4)[[0, 0, 1, 1]]
    got = compute_metrics(Predictions.from_logits(logits, task="multiclass", labels=[0, 0, 1, 2]))
    # f1: class 0 is 1, class 1 is 2/3, class 2 was never found, class 3 does not occur
    assert got["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert got["per_class"]["2"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert got["per_class"]["3"] == {"precision": None, "recall": None, "f1": None, "support": 0}
    json.dumps(got, allow_nan=False)


@pytest.mark.parametrize("width", [1, 2])
def test_binary_equals_scikit_learn(width):
    rng = np.random.default_rng(1)
    labels = (rng.random(300) < 0.3).astype("float32")
    scores = np.round(rng.normal(size=300) + 1.5 * labels, 1)  # with ties
    logits = scores if width == 1 else np.stack([-scores / 2, scores / 2], axis=1)
    got = compute_metrics(Predictions.from_logits(logits, task="binary", labels=labels))
    assert got["auc"] == pytest.approx(sk.roc_auc_score(labels, scores))
    assert got["loss"] == pytest.approx(sk.log_loss(labels, 1 / (1 + np.exp(-scores))))
    assert got["accuracy"] == pytest.approx(np.mean((scores > 0) == labels))
    thresholds = np.unique(scores)
    allowed = [t for t in thresholds if np.mean(scores[labels == 0] < t) >= 0.9]
    best = max(np.mean(scores[labels == 1] >= t) for t in allowed)
    assert got["sensitivity_at_specificity"]["0.9"] == pytest.approx(best)


def test_sensitivity_by_hand():
    labels = np.array([0] * 10 + [1, 1, 1, 1])
    scores = np.array([*range(10), 9.5, 8.5, 7.5, 20])
    assert sensitivity_at_specificity(labels, scores, 0.9) == 0.75  # above 8.5: one of ten passes
    assert sensitivity_at_specificity(labels, scores, 1.0) == 0.5
    assert np.isnan(sensitivity_at_specificity(np.zeros(3), np.arange(3.0), 0.9))


def test_one_class_only_gives_no_auc():
    got = compute_metrics(Predictions.from_logits([1.0, 2.0], task="binary", labels=[1, 1]))
    assert got["auc"] is None and got["accuracy"] == 1
    single = compute_metrics(Predictions.from_logits([[1.0]], task="multiclass", labels=[0]))
    assert single["accuracy"] == single["top_k_accuracy"] == 1


def test_multilabel_equals_scikit_learn():
    rng = np.random.default_rng(2)
    labels = (rng.random((100, 4)) < 0.4).astype("float32")
    logits = rng.normal(size=(100, 4)) + labels
    predictions = Predictions.from_logits(logits, task="multilabel", labels=labels)
    got = compute_metrics(predictions)
    predicted = predictions.predicted
    assert got["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    assert got["exact_match"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert got["macro_auc"] == pytest.approx(sk.roc_auc_score(labels, logits))
    p = predictions.probabilities
    assert got["loss"] == pytest.approx(-np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p)))


def test_regression_equals_scikit_learn():
    rng = np.random.default_rng(3)
    labels, values = rng.normal(size=(50, 2)), rng.normal(size=(50, 2))
    got = compute_metrics(Predictions.from_logits(values, task="regression", labels=labels))
    assert got["mae"] == pytest.approx(sk.mean_absolute_error(labels, values))
    assert got["rmse"] ** 2 == pytest.approx(sk.mean_squared_error(labels, values))
    assert got["r2"] == pytest.approx(sk.r2_score(labels, values))
    assert compute_metrics(Predictions.from_logits([1.0], task="regression", labels=[1.0]))["r2"] is None


def test_no_labels_no_rows_and_no_numbers():
    with pytest.raises(ValueError, match="labels=None"):
        compute_metrics(Predictions.from_logits([[1.0, 0.0]], task="multiclass"))
    empty = Predictions.from_logits(np.zeros((0, 2)), task="multiclass", labels=np.zeros(0, int), ids=[])
    assert compute_metrics(empty) == {"rows": 0}
    nan = Predictions.from_logits([[np.nan, 0.0]], task="multiclass", labels=[1])
    got = compute_metrics(nan)
    assert got["loss"] is None and got["expected_calibration_error"] is None
    assert got["top_k_accuracy"] == 0


def test_ties_do_not_count_for_all():
    logits = np.zeros((4, 4))
    labels = np.arange(4)
    tied = Predictions.from_logits(logits, task="multiclass", labels=labels)
    assert [top_k_hits(tied, k).mean() for k in (1, 2, 4)] == [0.25, 0.5, 1.0]


def test_calibration_error_by_hand():
    # bins of a fifteenth: .95 and 1 lie in the last, .9 in the one before, .5 in the eighth
    confidence, hits = np.array([0.95, 1.0, 0.9, 0.5]), np.array([1, 0, 1, 1])
    expected = (2 * abs(0.5 - 0.975) + 1 * 0.1 + 1 * 0.5) / 4
    assert expected_calibration_error(confidence, hits) == pytest.approx(expected)
    table = reliability_bins(confidence, hits)
    assert table["count"][[14, 13, 7]].tolist() == [2, 1, 1] and table["count"].sum() == 4
    assert reliability_bins(np.array([0.2]), np.array([1]), bins=5)["count"].tolist() == [1, 0, 0, 0, 0]


def test_temperature_recovers_the_factor():
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(4000, 5)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (probabilities.cumsum(1) > rng.random((4000, 1))).argmax(1)
    overconfident = Predictions.from_logits(logits * 3, task="multiclass", labels=labels)
    temperature = fit_temperature(overconfident)
    assert temperature == pytest.approx(3, rel=0.08)
    cooled = Predictions.from_logits(logits * 3 / temperature, task="multiclass", labels=labels)
    before, after = (compute_metrics(p) for p in (overconfident, cooled))
    assert after["expected_calibration_error"] < 0.3 * before["expected_calibration_error"]
    assert after["accuracy"] == before["accuracy"]

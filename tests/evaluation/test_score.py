"""The contributions of rows to a metric, and verdicts by any metric."""

import keras
import numpy as np
import pytest

from tlkeras.config import MetricConfig
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions, judge
from tlkeras.evaluation.named_metrics import METRICS, named_values
from tlkeras.evaluation.score import score_of

ROWS = 240
OPTIONS = {
    "f_beta": {"beta": 2.0},
    "quantile_loss": {"quantile": 0.9},
    "top_k_categorical_accuracy": {"k": 2},
}


def predictions(task, seed=0, noise=1.0, rows=ROWS):
    """Predictions of a random model; the labels do not depend on `seed`."""
    labels_of, noise_of = np.random.default_rng(99), np.random.default_rng(seed)
    if task == "multiclass":
        labels = labels_of.choice(4, rows, p=[0.6, 0.2, 0.15, 0.05])
        logits = 2 * np.eye(4)[labels] + noise * noise_of.normal(size=(rows, 4))
    elif task == "regression":
        labels = 5 + labels_of.normal(size=(rows, 1))
        logits = labels + noise * noise_of.normal(size=(rows, 1))
    else:
        labels = (labels_of.random((rows, 1 if task == "binary" else 3)) < 0.3).astype(int)
        logits = 3 * labels - 1.5 + noise * noise_of.normal(size=labels.shape)
    return Predictions.from_logits(logits, task=task, labels=labels)


CASES = [(name, task) for name, row in METRICS.items() for task in row.tasks]


@pytest.mark.parametrize("name, task", CASES)
def test_contributions_have_the_metric_as_mean_and_its_jackknife_variance(name, task):
    some, metric = predictions(task), MetricConfig(name=name, options=OPTIONS.get(name, {}))
    score = score_of(some, metric)
    rows = score.rows(some)
    value = lambda p: named_values(p, [metric])[name]  # noqa: E731
    assert rows.shape == (ROWS,) and rows.mean() == pytest.approx(value(some), rel=1e-4)
    left = np.array([score.rows(some.take(np.arange(ROWS) != i)).mean() for i in range(ROWS)])
    assert np.std(rows) == pytest.approx((ROWS - 1) * np.std(left), rel=0.05)
    assert score.lower_is_better == (task == "regression" and name != "r2_score")


def test_a_metric_without_formula_has_the_variance_of_its_formula():
    some = predictions("multiclass", rows=400)
    own = keras.metrics.F1Score(average="macro", name="f1")
    known = score_of(some, MetricConfig(name="f_beta")).rows(some)
    found = score_of(some, MetricConfig(name="f1"), [own]).rows(some)
    assert found.mean() == pytest.approx(known.mean(), abs=1e-6)
    assert found.std() == pytest.approx(known.std(), rel=0.25)  # from 100 groups of 4 rows


@pytest.mark.parametrize(
    "name, task, constant",
    [("auc", "binary", 0.5), ("cohen_kappa", "multiclass", 0.0), ("balanced_accuracy", "multiclass", 0.25)],
)
def test_the_best_constant_answer(name, task, constant):
    some = predictions(task)
    assert score_of(some, MetricConfig(name=name)).constant(some) == pytest.approx(constant)
    values = predictions("regression")
    mae = score_of(values, MetricConfig(name="mae")).constant(values)
    assert mae == pytest.approx(np.abs(values.labels - np.median(values.labels)).mean(), rel=0.01)


def test_a_verdict_by_a_metric():
    run, twin = predictions("multiclass", noise=1.0), predictions("multiclass", seed=1, noise=3.0)
    found = judge([run], [twin], metric=MetricConfig(name="macro_f1"))
    assert found.verdict == "helped" and found.metric == "macro_f1" and not found.lower_is_better
    assert "macro_f1" in found.sentence and "points" in found.sentence
    assert found.interval[0] < found.gain < found.interval[1]
    same = judge([run], [twin], metric=MetricConfig(name="accuracy"))
    assert same == judge([run], [twin])


def test_a_smaller_error_is_a_gain():
    near, far = predictions("regression", noise=0.3), predictions("regression", seed=1, noise=0.6)
    found = judge([near], [far], metric=MetricConfig(name="mae"))
    assert (
        found.verdict == "helped" and found.gain == pytest.approx(found.twin - found.run) and found.gain > 0
    )
    assert "lower is better" in found.sentence and "better by" in found.sentence
    assert judge([far], [near], metric=MetricConfig(name="mae")).verdict == "hurt"
    # the smallest effect is one per cent of the twin, so that units do not matter
    small = [Predictions.from_logits(p.logits / 1e4, task=p.task, labels=p.labels / 1e4) for p in (near, far)]
    assert judge(*small, metric=MetricConfig(name="mae")).verdict == "helped"


def test_a_metric_that_does_not_fit_is_refused_with_those_that_do():
    with pytest.raises(UserError, match=r"Allowed for regression: mae, .*r2_score"):
        score_of(predictions("regression"), MetricConfig(name="macro_f1"))
    with pytest.raises(UserError, match="Did you mean 'macro_f1'"):
        score_of(predictions("multiclass"), MetricConfig(name="macro_fi"))

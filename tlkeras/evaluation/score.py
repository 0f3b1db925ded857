"""The score by which runs are judged: the accuracy, R2, or the metric that a config names."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.config import MetricConfig
from tlkeras.config.objective import lower_is_better
from tlkeras.evaluation import by_rows
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.seed_noise import OF_R2, OF_RANKINGS, OF_SCORES, SeedNoise
from tlkeras.lazy import LateModule

named_metrics = LateModule("tlkeras.evaluation.named_metrics")  # needs Keras

MIN_EFFECT = 0.01


@dataclass(frozen=True)
class Score:
    """A score of predictions.

    Attributes:
        name: Name of the metric.
        rows: Function of labelled predictions that returns the contribution of each row, `(n,)`. Their mean
            is the score; see `tlkeras.evaluation.by_rows`.
        constant: Function of labelled predictions that returns the score of the best constant answer.
        lower_is_better: Whether a smaller value is better.
        is_share: Whether the score is a fraction, so that its differences are points.
        seed_noise: How much the score varies between seeds.
    """

    name: str
    rows: Callable[[Predictions], np.ndarray]
    constant: Callable[[Predictions], float]
    lower_is_better: bool = False
    is_share: bool = True
    seed_noise: SeedNoise = OF_SCORES

    @property
    def sign(self) -> float:
        """1.0 if a higher value is better, else -1.0."""
        return -1.0 if self.lower_is_better else 1.0

    def smallest_effect(self, value: float) -> float:
        """Returns the smallest difference from `value` that counts: a point, or one per cent of the value."""
        return MIN_EFFECT if self.is_share else MIN_EFFECT * abs(value)


def score_of(predictions: Predictions, metric: MetricConfig | None = None, own: Sequence = ()) -> Score:
    """Returns the score by which predictions are judged.

    Args:
        predictions: Predictions of the task.
        metric: Metric that a config names, or None for the accuracy (R2 for regression).
        own: Keras metrics that were passed from Python.

    Raises:
        UserError: There is no such metric, or the task does not have it.
    """
    if metric is None:
        return usual_score(predictions)
    named_metrics.make_metrics([metric], predictions.task, predictions.logits.shape[1], own)
    name, given = metric.name, named_metrics.by_row_of(metric, own)

    def value(some: Predictions) -> float:
        found = named_metrics.named_values(some, [metric], own)[name] if given is None else given(some).mean()
        return float(found)

    def rows(some: Predictions) -> np.ndarray:
        return by_rows.of_groups(some, value) if given is None else given(some)

    def constant(some: Predictions) -> float:
        return by_rows.best_constant(some, value, lower=lower_is_better(name))

    if name in {passed.name for passed in own}:
        return Score(name, rows, constant, lower_is_better(name), is_share=False, seed_noise=OF_RANKINGS)
    row = named_metrics.METRICS.get(name)
    return Score(name, rows, constant, lower_is_better(name), row.is_share, row.seed_noise)


def registered(metric: MetricConfig | None) -> MetricConfig | None:
    """Returns the metric if it is registered, and None if it was passed from Python.

    A finished run holds no metrics from Python, so what only reads runs goes by the usual score instead.
    """
    return metric if metric is not None and metric.name in named_metrics.METRICS else None


def usual_score(predictions: Predictions) -> Score:
    """Returns the score of a task without a metric of its own: the accuracy, or R2 for regression."""
    if predictions.task == "regression":
        return Score("r2", by_rows.explained, lambda p: 0.0, seed_noise=OF_R2)
    return Score("accuracy", by_rows.right, by_rows.majority)


def row_scores(predictions: Predictions) -> np.ndarray:
    """Returns the contribution of each row to the usual score, float64 (n,)."""
    return usual_score(predictions).rows(predictions)

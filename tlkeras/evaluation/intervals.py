"""Confidence intervals of scores, and the lines that report them."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np

from tlkeras.config import MetricConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import score_of

FEW_ROWS = 50


def wilson_interval(share: float, rows: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the confidence interval of an accuracy (Wilson 1927).

    Unlike a bootstrap interval, it does not shrink to a point if all of a few rows are correct.

    Args:
        share: Fraction of correct rows in 0..1.
        rows: Number of rows, at least 1.
        confidence: Confidence level between 0 and 1.
    """
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = math.sqrt(z2 * share * (1 - share) / rows + z2 * z2 / (4 * rows * rows)) / (1 + z2 / rows)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def score_interval(
    predictions: Predictions,
    metric: MetricConfig | None = None,
    own: Sequence = (),
    *,
    confidence: float = 0.95,
    draws: int = 2000,
) -> tuple[float, float, float]:
    """Returns a score and its interval over the rows, `(score, low, high)`.

    The score is that of the verdict. Accuracy has the interval of Wilson (1927). Other scores have a
    bootstrap interval (Efron 1979) of the contributions of the rows; see `tlkeras.evaluation.by_rows`.

    Args:
        predictions: Predictions of labelled rows.
        metric: Metric that a config names, or None for the accuracy (R2 for regression).
        own: Keras metrics that were passed from Python.
        confidence: Confidence level in 0..1.
        draws: Number of bootstrap draws.

    Raises:
        UserError: There are no labelled rows.
    """
    if predictions.labels is None or not len(predictions):
        raise UserError("An interval needs labelled rows. Received: none")
    score = score_of(predictions, metric, own)
    scores = score.rows(predictions)
    if score.name == "accuracy" and predictions.task in ("multiclass", "binary"):
        return float(scores.mean()), *wilson_interval(float(scores.mean()), len(scores), confidence)
    values, counts = np.unique(scores, return_counts=True)
    rng, size = np.random.default_rng(0), len(scores)
    if len(values) <= 64:
        means = rng.multinomial(size, counts / size, draws) @ values / size
    else:
        means = np.array([scores[rng.integers(size, size=size)].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(scores.mean()), float(low), float(high)


def headline(values: Mapping[str, Any], judged_by: str | None = None) -> str:
    """Returns the name of the most important metric of a split: the one of `judged_by` if it was measured."""
    return next(name for name in (judged_by, "accuracy", "rmse") if name and name in values)


def score_line(domain: str, split: str, values: Mapping[str, Any], judged_by: str | None = None) -> str:
    """Returns a line with the most important metric of a split, with its interval unless it is `train`."""
    if not values["rows"]:
        return f"{domain} {split}: no rows"
    name = headline(values, judged_by)
    line = f"{domain} {split}: {name} {values[name]:.3f} on {values['rows']} rows"
    interval = values.get("interval", {}).get(name)
    if name == "accuracy" and interval is None:
        interval = wilson_interval(values["accuracy"], values["rows"])
    if interval is None or split == "train":
        return line
    return f"{line} (95 % interval {interval[0]:.3f} to {interval[1]:.3f})"


def few_rows_note(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Returns a note about splits that are too small for precise metrics, or an empty string.

    Args:
        metrics: `{domain: {split: {"rows": ..., ...}}}`.
    """
    few = {
        f"{domain} {split}": values["rows"]
        for domain, splits in metrics.items()
        for split, values in splits.items()
        if split != "train" and 0 < values["rows"] < FEW_ROWS
    }
    if not few:
        return ""
    smallest = min(few, key=few.__getitem__)
    note = (
        f"There are few rows in {', '.join(few)}: one row of {smallest} is {100 / few[smallest]:.0f} "
        "points, so these numbers are uncertain."
    )
    if any(name.endswith(" val") for name in few):
        note += " If epochs were compared, val chose the best one."
    return f"{note} data.folds=5 tests every row once. More rows make the numbers more certain."

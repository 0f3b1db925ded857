"""Confidence intervals of accuracies."""

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

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


def score_line(domain: str, split: str, values: Mapping[str, Any]) -> str:
    """Returns a line with the accuracy (or error) of a split, and with its interval unless it is `train`."""
    name = "accuracy" if "accuracy" in values else "rmse"
    line = f"{domain} {split}: {name} {values[name]:.3f} on {values['rows']} rows"
    if name != "accuracy" or split == "train" or not values["rows"]:
        return line
    low, high = wilson_interval(values["accuracy"], values["rows"])
    return f"{line} (95 % interval {low:.3f} to {high:.3f})"


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
    smallest = min(few, key=few.get)
    note = (
        f"There are few rows in {', '.join(few)}: one row of {smallest} is {100 / few[smallest]:.0f} "
        "points, so these numbers are uncertain."
    )
    if any(name.endswith(" val") for name in few):
        note += " If epochs were compared, val chose the best one."
    return f"{note} data.folds=5 tests every row once. More rows make the numbers more certain."

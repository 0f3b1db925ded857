"""Conformal prediction: sets of classes, and intervals of values, that hold the truth as often as asked.

This is split conformal prediction (Papadopoulos et al. 2002, Vovk et al. 2005): validation rows show how
large the score of the true class gets. The coverage holds on average over rows of the same kind as the
validation rows, whatever the model.
"""

import hashlib
import math
from collections.abc import Callable

import numpy as np

from tlkeras.errors import UserError, unknown
from tlkeras.evaluation.predictions import Predictions

RANK_PENALTY, FREE_RANKS = 0.01, 5  # of RAPS; the values that Angelopoulos et al. 2021 use


def conformal_sets(
    validation: Predictions, predictions: Predictions, coverage: float = 0.9, kind: str = "threshold"
) -> np.ndarray:
    """Returns the classes that each row may have, bool `(n, k)`. They hold the true class as often as asked.

    A set may be empty: then no class is plausible enough. This is frequent if the model is correct more often
    than `coverage`.

    Args:
        validation: Labelled multiclass or binary predictions on validation rows.
        predictions: Predictions of the same model. If one of the two is calibrated, the other must be too.
        coverage: Share of rows whose set holds the true class, between 0 and 1.
        kind: Kind of the sets. `threshold` has all classes above one probability, which gives the smallest
            sets (Sadinle et al. 2019). `adaptive` adapts the size to how difficult a row is (APS, Romano
            et al. 2020). `regularized` also penalises unlikely classes beyond the fifth, which makes sets
            of many classes smaller (RAPS, Angelopoulos et al. 2021).

    Raises:
        UserError: The task has other answers than one class per row, or there are too few validation rows.
    """
    if kind not in KINDS:
        raise unknown("kind of conformal set", kind, KINDS)
    for given in (validation, predictions):
        if given.task not in ("multiclass", "binary"):
            raise UserError(
                "Conformal sets need one class per row (a regression has intervals instead). Received: "
                f"task={given.task!r}"
            )
    labels = _labels(validation)
    scores = KINDS[kind](validation.probabilities)[np.arange(len(labels)), labels]
    return KINDS[kind](predictions.probabilities) <= conformal_threshold(scores, coverage)


def conformal_intervals(
    validation: Predictions, predictions: Predictions, coverage: float = 0.9
) -> np.ndarray:
    """Returns the lower and the upper bound of each value of a regression, float64 `(n, k, 2)`.

    The width is the same for all rows. Each of the `k` values is in its interval as often as asked.

    Args:
        validation: Labelled predictions of a regression on validation rows.
        predictions: Predictions of the same model.
        coverage: Share of rows whose true value is in the interval, between 0 and 1.

    Raises:
        UserError: The task is not a regression, or there are too few validation rows.
    """
    if validation.task != "regression":
        raise UserError(f"Intervals need a regression. Received: task={validation.task!r}")
    errors = np.abs(validation.logits - _labels(validation))
    widths = np.array([conformal_threshold(column, coverage) for column in errors.T])
    return np.stack([predictions.logits - widths, predictions.logits + widths], axis=-1)


def conformal_threshold(scores: np.ndarray, coverage: float) -> float:
    """Returns the score below which a new score lies with the given probability.

    Args:
        scores: Scores of the truth on validation rows, float `(n,)`.
        coverage: Probability between 0 and 1.

    Raises:
        UserError: `coverage` is not between 0 and 1, or so many rows are needed that there are too few.
    """
    if not 0 < coverage < 1:
        raise UserError(f"The coverage must be between 0 and 1, e.g. 0.9. Received: {coverage:g}")
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)
    if place > len(scores):
        needed = math.ceil(coverage / (1 - coverage) - 1e-9)
        raise UserError(
            f"A coverage of {coverage:g} needs at least {needed} validation rows with labels. Received: "
            f"{len(scores)}"
        )
    return float(np.sort(scores)[place - 1])


def _labels(validation: Predictions) -> np.ndarray:
    if validation.labels is None:
        raise UserError("A coverage needs validation rows with labels. Received: labels=None")
    return validation.labels


def _threshold(probabilities: np.ndarray) -> np.ndarray:
    return 1 - probabilities


def _adaptive(probabilities: np.ndarray) -> np.ndarray:
    order = np.argsort(-probabilities, axis=1, kind="stable")
    falling = np.take_along_axis(probabilities, order, axis=1)
    sums = falling.cumsum(axis=1) - falling * _random_shares(probabilities)[:, None]
    scores = np.empty_like(sums)
    np.put_along_axis(scores, order, sums, axis=1)
    return scores


def _regularized(probabilities: np.ndarray) -> np.ndarray:
    ranks = 1 + np.argsort(np.argsort(-probabilities, axis=1, kind="stable"), axis=1)
    return _adaptive(probabilities) + RANK_PENALTY * np.maximum(ranks - FREE_RANKS, 0)


def _random_shares(probabilities: np.ndarray) -> np.ndarray:
    """Returns a random number in 0..1 for each row, float64 `(n,)`.

    It is a hash of the row's probabilities, so the set of a row does not depend on the rows beside it.
    """
    digests = (hashlib.blake2b(row.tobytes(), digest_size=8) for row in np.round(probabilities, 5))
    return np.array([int.from_bytes(digest.digest()) / 2**64 for digest in digests])


# scores (n, k) of the classes by kind; the set of a row has the classes with small scores
KINDS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "threshold": _threshold,
    "adaptive": _adaptive,
    "regularized": _regularized,
}

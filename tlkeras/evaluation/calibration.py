"""Calibration: whether the confidence of a model equals its accuracy."""

import numpy as np

from tlkeras.evaluation.predictions import Predictions
from tlkeras.lazy import LateModule
from tlkeras.models.probabilities import log_softmax

scipy = LateModule("scipy")


def confidence_and_hits(predictions: Predictions) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probability of each prediction and whether it is correct, both float64 of the same shape.

    For multilabel, each of the n * k yes-or-no predictions counts separately.
    """
    probabilities, labels = predictions.probabilities, predictions.labels
    if predictions.task == "multilabel":
        hits = predictions.predicted == (labels >= 0.5)
        return np.maximum(probabilities, 1 - probabilities).ravel(), hits.ravel().astype(float)
    return probabilities.max(axis=1), (predictions.predicted == labels).astype(float)


def reliability_bins(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """Returns the bins of a reliability diagram (Guo et al. 2017, section 2).

    Args:
        confidence: Probability of each prediction, float (n,) in 0..1.
        hits: Correctness of each prediction, (n,) of 0 and 1.
        bins: Number of equally wide bins. Bin m contains confidences in ((m - 1) / bins, m / bins].

    Returns:
        A dict of arrays (bins,): `lower`, `upper`, `count`, and the mean `confidence` and `accuracy` of each
        bin, which are NaN in an empty bin.
    """
    index = np.clip(np.ceil(np.asarray(confidence) * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    total = np.where(count, count, np.nan)
    edges = np.arange(bins + 1) / bins
    return {
        "lower": edges[:-1],
        "upper": edges[1:],
        "count": count,
        "confidence": np.bincount(index, weights=confidence, minlength=bins) / total,
        "accuracy": np.bincount(index, weights=hits, minlength=bins) / total,
    }


def expected_calibration_error(confidence: np.ndarray, hits: np.ndarray, bins: int = 15) -> float:
    """Returns the mean gap between confidence and accuracy over equally wide bins, in 0..1.

    See Guo et al. 2017, equation 3. The result is NaN if a confidence is NaN.

    Args:
        confidence: Probabilities of the predicted classes, `(n,)` in 0..1.
        hits: Whether each prediction is correct, `(n,)`.
        bins: Number of bins.
    """
    if not len(confidence) or not np.all(np.isfinite(confidence)):
        return float("nan")
    table = reliability_bins(confidence, hits, bins)
    gaps = np.abs(table["accuracy"] - table["confidence"])
    return float(np.nansum(table["count"] * gaps) / len(confidence))


def fit_temperature(validation: Predictions) -> float:
    """Returns the temperature that minimises the cross-entropy of validation logits (Guo et al. 2017, 4.2).

    It is searched between 0.05 and 20. Dividing logits by it changes the probabilities and not the predicted
    classes: `Predictions.from_logits(logits / temperature, ...)`.

    Args:
        validation: Labelled multiclass or binary predictions on the validation split.

    Raises:
        ValueError: The predictions have no labels, or belong to another task.
    """
    if validation.task not in ("multiclass", "binary") or validation.labels is None:
        raise ValueError(
            "Temperature scaling needs labelled multiclass or binary predictions. "
            f"Received: task={validation.task!r}, labels={validation.labels}"
        )
    logits = two_sided(validation)
    rows = np.arange(len(logits))

    def loss(log_temperature: float) -> float:
        scaled = log_softmax(logits / np.exp(log_temperature))
        return -scaled[rows, validation.labels].mean()

    best = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def two_sided(predictions: Predictions) -> np.ndarray:
    """Returns logits (n, k) whose softmax gives the probabilities, also for binary with one logit."""
    if predictions.task == "binary" and predictions.logits.shape[1] == 1:
        return np.concatenate([np.zeros_like(predictions.logits), predictions.logits], axis=1)
    return predictions.logits

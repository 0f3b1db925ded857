"""Calibration: whether the confidence of a model equals its accuracy."""

import dataclasses
from typing import Any

import numpy as np

from tlkeras.evaluation.predictions import Predictions, cross_entropy
from tlkeras.lazy import LateModule
from tlkeras.run_dir import RunDir

scipy = LateModule("scipy")

FILE = "calibration.json"  # in the folder evaluation/ of a run


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

    It is searched between 0.05 and 20, with a normal prior of standard deviation 1 on its logarithm. The
    prior matters only if there are few rows, or if all of them are predicted correctly: without it, the best
    temperature would then be 0. Dividing logits by the temperature changes the probabilities and not the
    predicted classes, see `Predictions.at_temperature`.

    Args:
        validation: Labelled predictions on the validation split, for any task but regression.

    Raises:
        ValueError: The predictions have no labels, or are values of a regression.
    """
    if validation.task == "regression" or validation.labels is None:
        raise ValueError(
            "Temperature scaling needs labelled predictions of classes. "
            f"Received: task={validation.task!r}, labels={validation.labels}"
        )

    def loss(log_temperature: float) -> float:
        scaled = dataclasses.replace(validation, logits=validation.logits / np.exp(log_temperature))
        return cross_entropy(scaled).sum() + log_temperature**2 / 2

    best = scipy.optimize.minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded")
    return float(np.exp(best.x))


def calibration_of(validation: Predictions | None) -> dict[str, Any]:
    """Returns the content of `calibration.json`: the temperature by which a run's logits are divided.

    Args:
        validation: Predictions on the validation split of the run's own domain, or None.

    Returns:
        `temperature`, `rows`, and the expected calibration error on these rows, `error_before` and
        `error_after`. If the rows show no temperature, it is 1, and `reason` says why.
    """
    if validation is None or not len(validation) or validation.labels is None:
        return {"temperature": 1.0, "reason": "there are no validation rows with labels"}
    if validation.task == "regression":
        return {"temperature": 1.0, "reason": "a regression has no probabilities"}
    if not np.isfinite(validation.logits).all():
        return {"temperature": 1.0, "reason": "some logits of the validation rows are not finite"}
    temperature = fit_temperature(validation)
    return {
        "temperature": temperature,
        "rows": len(validation),
        "error_before": expected_calibration_error(*confidence_and_hits(validation)),
        "error_after": expected_calibration_error(
            *confidence_and_hits(validation.at_temperature(temperature))
        ),
    }


def read_calibration(run_dir: RunDir) -> dict[str, Any]:
    """Returns the content of `calibration.json` of a run; see `calibration_of`. It is empty without the file.

    Raises:
        UserError: The file is damaged.
    """
    file = run_dir.evaluation / FILE
    return run_dir.read_json(file) if file.is_file() else {}


def temperature_of(run_dir: RunDir) -> float:
    """Returns the temperature by which `predict` and exports divide the logits of a run; 1 without one."""
    return read_calibration(run_dir).get("temperature", 1.0)


def fitted_temperature(run_dir: RunDir) -> float | None:
    """Returns the temperature that was fitted on validation rows of a run, or None if there were none."""
    facts = read_calibration(run_dir)
    return None if not facts or "reason" in facts else facts["temperature"]


def calibration_note(facts: dict[str, Any]) -> str:
    """Returns a sentence about the calibration of a run, for the terminal.

    It is empty for a regression, and if `facts` are, because the run was not to be calibrated.

    Args:
        facts: Content of `calibration.json`; see `calibration_of`.
    """
    if not facts:
        return ""
    if "reason" not in facts:
        return (
            f"Calibration: predict and exports divide the logits by {facts['temperature']:.3g}. The expected "
            f"calibration error on validation rows is {facts['error_after']:.3f} instead of "
            f"{facts['error_before']:.3f}."
        )
    if "regression" in facts["reason"]:
        return ""
    return f"The probabilities are not calibrated, because {facts['reason']}."

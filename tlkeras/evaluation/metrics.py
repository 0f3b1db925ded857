"""The metrics in `evaluation/metrics.json`, for each task, computed from predictions."""

import os
from typing import Any

import numpy as np

from tlkeras.evaluation.by_rows import top_k_hits
from tlkeras.evaluation.calibration import confidence_and_hits, expected_calibration_error
from tlkeras.evaluation.prediction_files import csv_text
from tlkeras.evaluation.predictions import Predictions, cross_entropy, two_sided
from tlkeras.lazy import LateModule
from tlkeras.run_dir import write_text
from tlkeras.run_dir.atomic import plain

sklearn = LateModule("sklearn")

SPECIFICITIES = (0.9, 0.95)


def compute_metrics(predictions: Predictions) -> dict[str, Any]:
    """Returns the metrics of one labelled split as JSON values. Undefined values are None.

    - All tasks: `rows`, `loss` (mean cross-entropy without label smoothing; mean squared error for
      regression).
    - Multiclass and binary: `accuracy`, `macro_f1` (over the classes that occur in labels or predictions, as
      in scikit-learn), `expected_calibration_error`, `per_class` with `precision`, `recall`, `f1`, `support`,
      `top_k` (5, or the number of classes less one) and `top_k_accuracy`.
    - Binary: `auc`, `sensitivity_at_specificity`.
    - Multilabel: `accuracy` over all single predictions, `exact_match`, `macro_auc`.
    - Regression: `mae`, `rmse`, `r2`.

    Args:
        predictions: Predictions with labels.

    Raises:
        ValueError: There are no labels.
    """
    if predictions.labels is None:
        raise ValueError("Metrics need labels. Received: labels=None")
    if not len(predictions):
        return {"rows": 0}
    compute = {"multilabel": _multilabel, "regression": _regression}.get(predictions.task, _classes)
    return plain({"rows": len(predictions), **compute(predictions)})


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """Returns counts (k, k). Rows are true classes, and columns are predicted classes."""
    classes = len(predictions.class_names)
    pairs = predictions.labels * classes + predictions.predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def write_confusion(predictions: Predictions, path: str | os.PathLike) -> None:
    """Writes `confusion.csv` with one line per true class and one column per predicted class.

    For multilabel it has one line per class with its true and false positives and negatives.
    """
    names = predictions.class_names
    if predictions.task == "multilabel":
        columns = ["label", "true_positive", "false_positive", "false_negative", "true_negative"]
        counts = np.stack(_counts(predictions.labels >= 0.5, predictions.predicted), axis=1)
    else:
        columns, counts = ["label", *names], confusion_matrix(predictions)
    rows = [[name, *line] for name, line in zip(names, counts.tolist(), strict=True)]
    write_text(path, csv_text(columns, rows))


def sensitivity_at_specificity(labels: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    """Returns the largest true positive rate with a true negative rate of at least `specificity`.

    Args:
        labels: Labels 0 or 1, (n,).
        scores: Scores (n,). A larger score means that the row is more likely positive.
        specificity: Smallest true negative rate in 0..1.
    """
    if not 0 < labels.sum() < len(labels) or not np.all(np.isfinite(scores)):
        return float("nan")
    false_positive_rate, true_positive_rate, _ = sklearn.metrics.roc_curve(
        labels, scores, drop_intermediate=False
    )
    # The tolerance is needed because 1 - 0.9 is slightly less than 1 / 10 in floating point.
    return float(true_positive_rate[false_positive_rate <= 1 - specificity + 1e-12].max())


def area_under_curve(labels: np.ndarray, scores: np.ndarray) -> float:
    """Returns the area under the ROC curve, or NaN if only one class occurs."""
    if not 0 < labels.sum() < len(labels) or not np.all(np.isfinite(scores)):
        return float("nan")
    return float(sklearn.metrics.roc_auc_score(labels, scores))


def _classes(predictions: Predictions) -> dict[str, Any]:
    labels, k = predictions.labels, max(1, min(5, len(predictions.class_names) - 1))
    matrix = confusion_matrix(predictions)
    hits = np.diag(matrix)
    per_class = _per_class(hits, matrix.sum(axis=0) - hits, matrix.sum(axis=1) - hits)
    metrics = {
        "loss": cross_entropy(predictions).mean(),
        "accuracy": hits.sum() / len(predictions),
        "top_k": k,
        "top_k_accuracy": top_k_hits(predictions, k).mean(),
        "macro_f1": _mean(per_class["f1"]),
        "expected_calibration_error": expected_calibration_error(*confidence_and_hits(predictions)),
    }
    if predictions.task == "binary":
        scores = two_sided(predictions) @ np.array([-1.0, 1.0])
        metrics["auc"] = area_under_curve(labels, scores)
        metrics["sensitivity_at_specificity"] = {
            str(at): sensitivity_at_specificity(labels, scores, at) for at in SPECIFICITIES
        }
    return {**metrics, "per_class": _by_name(predictions, per_class)}


def _multilabel(predictions: Predictions) -> dict[str, Any]:
    labels, predicted = predictions.labels >= 0.5, predictions.predicted
    hits, false, missed, _ = _counts(labels, predicted)
    columns = zip(labels.T, predictions.logits.T, strict=True)
    auc = np.array([area_under_curve(truth, scores) for truth, scores in columns])
    per_class = {**_per_class(hits, false, missed), "auc": auc}
    return {
        "loss": cross_entropy(predictions).mean(),
        "accuracy": (labels == predicted).mean(),
        "exact_match": (labels == predicted).all(axis=1).mean(),
        "macro_f1": _mean(per_class["f1"]),
        "macro_auc": _mean(auc),
        "expected_calibration_error": expected_calibration_error(*confidence_and_hits(predictions)),
        "per_class": _by_name(predictions, per_class),
    }


def _regression(predictions: Predictions) -> dict[str, Any]:
    errors = predictions.logits - predictions.labels
    spread = ((predictions.labels - predictions.labels.mean(axis=0)) ** 2).mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r2 = 1 - (errors**2).mean(axis=0) / spread
    return {
        "loss": (errors**2).mean(),
        "mae": np.abs(errors).mean(),
        "rmse": np.sqrt((errors**2).mean()),
        "r2": r2.mean(),
    }


def _counts(labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Returns true positives, false positives, false negatives, true negatives, each (k,)."""
    cases = (labels & predicted, ~labels & predicted, labels & ~predicted, ~labels & ~predicted)
    return tuple(case.sum(axis=0) for case in cases)


def _per_class(hits: np.ndarray, false: np.ndarray, missed: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "precision": _ratio(hits, hits + false, occurs=hits + false + missed),
        "recall": _ratio(hits, hits + missed, occurs=hits + false + missed),
        "f1": _ratio(2 * hits, 2 * hits + false + missed, occurs=hits + false + missed),
        "support": hits + missed,
    }


def _ratio(part: np.ndarray, whole: np.ndarray, *, occurs: np.ndarray) -> np.ndarray:
    """Returns part / whole. It is 0 if whole is 0, and NaN if the class does not occur at all."""
    ratio = part / np.where(whole, whole, 1)
    return np.where(occurs, ratio, np.nan)


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def _by_name(predictions: Predictions, columns: dict[str, np.ndarray]) -> dict[str, dict]:
    return {
        name: {key: values[index] for key, values in columns.items()}
        for index, name in enumerate(predictions.class_names)
    }

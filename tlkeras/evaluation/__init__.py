"""Evaluation: a model predicts each split once, and all results are computed from these predictions."""

from tlkeras.evaluation.calibration import (
    expected_calibration_error,
    fit_temperature,
    reliability_bins,
)
from tlkeras.evaluation.metrics import compute_metrics, confusion_matrix, write_confusion
from tlkeras.evaluation.prediction_files import escape_cell, write_csv, write_json_lines
from tlkeras.evaluation.predictions import Predictions, predict_rows
from tlkeras.evaluation.verdict import Verdict, judge

__all__ = [
    "Predictions",
    "Verdict",
    "compute_metrics",
    "confusion_matrix",
    "escape_cell",
    "expected_calibration_error",
    "fit_temperature",
    "judge",
    "predict_rows",
    "reliability_bins",
    "write_confusion",
    "write_csv",
    "write_json_lines",
]

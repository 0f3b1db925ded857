"""Evaluation: a model predicts each split once, and all results are computed from these predictions.

Names are imported at their first use, because most of them need NumPy.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "expected_calibration_error": "calibration",
    "fit_temperature": "calibration",
    "reliability_bins": "calibration",
    "compute_metrics": "metrics",
    "confusion_matrix": "metrics",
    "write_confusion": "metrics",
    "escape_cell": "prediction_files",
    "write_csv": "prediction_files",
    "write_json_lines": "prediction_files",
    "Predictions": "predictions",
    "predict_rows": "predictions",
    "Verdict": "verdict",
    "judge": "verdict",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

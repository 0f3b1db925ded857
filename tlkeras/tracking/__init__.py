"""Trackers, which show runs beside each other: MLflow, Weights & Biases, or one of your own."""

from tlkeras.lazy import lazy_names

_HOMES = {
    "TRACKERS": "trackers",
    "Facts": "trackers",
    "Tracker": "trackers",
    "TrackerKind": "trackers",
    "check_trackers": "trackers",
    "options_of": "trackers",
    "Tracking": "tracking",
    "report_run": "tracking",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""Report pages: one for each run, and one that compares runs. They read only run directories.

Names are imported at their first use, because matplotlib is slow to import.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "RunRecord": "reading",
    "read_run": "reading",
    "write_report": "page",
    "write_tensorboard": "tensorboard_summaries",
    "compare_runs": "comparison",
    "write_comparison": "comparison",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

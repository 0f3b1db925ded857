"""Pages for people: one per run, and one that compares runs. They read run directories only.

Names are loaded when they are first used, so that nothing here waits for matplotlib.
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
__getattr__ = lazy_names(__name__, _HOMES)

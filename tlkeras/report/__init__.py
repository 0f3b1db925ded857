"""Pages for people: one per run, and one that compares runs. They read run directories only.

Names are loaded when they are first used, so that nothing here waits for matplotlib.
"""

import importlib

_HOMES = {
    "RunRecord": "reading",
    "read_run": "reading",
    "write_report": "page",
    "write_tensorboard": "tensorboard",
    "compare_runs": "comparison",
    "write_comparison": "comparison",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

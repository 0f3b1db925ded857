"""Data: sources -> domains -> batches.

Names are looked up on first use, since only the pipeline needs TensorFlow.
"""

import importlib

_HOMES = {
    "Domain": "domains",
    "load_domain": "domains",
    "Rows": "rows",
    "SOURCES": "sources",
    "PixelSpec": "reading",
    "read_image": "reading",
    "effective_batch_size": "pipeline",
    "epoch_order": "pipeline",
    "training_batches": "pipeline",
    "evaluation_batches": "pipeline",
    "view_batches": "pipeline",
    "check_files": "check",
    "Inspection": "inspect",
    "inspect_domain": "inspect",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

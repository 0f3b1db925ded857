"""What a frozen trunk puts out: extractors, the store that runs share, and batches of it.

Names are looked up on first use, since only some of them need TensorFlow.
"""

import importlib

_HOMES = {
    "EntryInfo": "store",
    "FeatureStore": "store",
    "default_cache_dir": "store",
    "Features": "arrays",
    "EXTRACTORS": "extractors",
    "FeatureCache": "cache",
    "Request": "identity",
    "training_batches": "batches",
    "evaluation_batches": "batches",
    "StageFeatures": "stage",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

"""Features, which are the outputs of a frozen trunk: extractors, a store that runs share, and batches.

Names are imported at their first use, because only some of them need TensorFlow.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "EntryInfo": "store",
    "FeatureStore": "store",
    "EXTRACTORS": "extractors",
    "FeatureCache": "cache",
    "Request": "identity",
    "StageFeatures": "stage_features",
    "unfinished_entries": "unfinished",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

"""Backbones, weights, cut points, heads and the model that a run trains.

Names are imported at their first use, so that listing backbones does not import TensorFlow.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "BACKBONES": "backbones",
    "Backbone": "backbones",
    "Family": "backbones",
    "HEADS": "heads",
    "TransferModel": "transfer_model",
    "build_model": "build",
    "summary_rows": "weights.files",
    "weights_at_hand": "weights.files",
}

__all__ = sorted(_HOMES)
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

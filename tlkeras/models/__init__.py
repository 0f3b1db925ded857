"""Backbones, weights, cut points, heads and the model that a run trains.

Names are loaded when they are first used, so that listing backbones does not import TensorFlow.
"""

import importlib

_HOMES = {
    "BACKBONES": "backbones",
    "Backbone": "backbones",
    "HEADS": "heads",
    "TransferModel": "transfer_model",
    "build_model": "build",
    "summary_rows": "weight_files",
    "weights_at_hand": "weight_files",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

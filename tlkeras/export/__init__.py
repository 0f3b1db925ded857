"""A run's model for use elsewhere: SavedModel, LiteRT, ONNX and `.keras`, each behind a parity gate.

Names are imported when they are first used, because TensorFlow comes with them.
"""

import importlib

_HOMES = {
    "FORMATS": "formats",
    "ExportRefused": "parity",
    "Parity": "parity",
    "ServedModel": "served_model",
    "export_run": "export",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

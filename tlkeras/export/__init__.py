"""A run's model for use elsewhere: SavedModel, LiteRT, ONNX and `.keras`, each behind a parity gate.

Names are imported when they are first used, because TensorFlow comes with them.
"""

from tlkeras.lazy import lazy_names

_HOMES = {
    "FORMATS": "formats",
    "ExportRefused": "parity",
    "Parity": "parity",
    "ServedModel": "served_model",
    "export_run": "export",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_names(__name__, _HOMES)

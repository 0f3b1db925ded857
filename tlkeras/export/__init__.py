"""Exports the model of a run as SavedModel, LiteRT, ONNX or `.keras`, and compares it with `predict`.

Names are imported at their first use, because they need TensorFlow.
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
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

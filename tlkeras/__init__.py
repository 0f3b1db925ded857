"""tlkeras: transfer-learning experiments on Keras 3.

Names are imported when they are first used: `import tlkeras` is quick and needs no TensorFlow.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "ExperimentConfig": "config",
    "load_config": "config",
    "run_experiment": "run",
    "build_model": "models",
    "load_run": "saved_run",
    "load_model": "saved_run",
    "predict": "saved_run",
}

__all__ = ["__version__", *sorted(_HOMES)]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)

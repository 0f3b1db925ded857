"""tlkeras: transfer-learning experiments on Keras 3.

Names are imported when they are first used: `import tlkeras` is quick and needs no TensorFlow.
"""

from tlkeras.lazy import lazy_names
from tlkeras.quiet import import_tensorflow_quietly

import_tensorflow_quietly()

__version__ = "0.1.0"

_HOMES = {
    "ExperimentConfig": "config",
    "load_config": "config",
    "run_experiment": "studies.experiment",
    "build_model": "models",
    "load_run": "runs.saved_run",
    "load_model": "runs.saved_run",
    "predict": "runs.saved_run",
}

__all__ = ["__version__", *sorted(_HOMES)]
__getattr__ = lazy_names(__name__, _HOMES)

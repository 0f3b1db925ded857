"""tlkeras: transfer-learning experiments on Keras 3.

Names are imported at their first use, so `import tlkeras` is quick and does not load TensorFlow.
"""

from tlkeras.lazy import lazy_names
from tlkeras.quiet import import_tensorflow_quietly

import_tensorflow_quietly()

__version__ = "0.1.0"

_HOMES = {
    "ExperimentConfig": "config",
    "adapt": "studies.source_free",
    "load_config": "config",
    "run_experiment": "studies.experiment",
    "build_model": "models",
    "extract_features": "models.plain_keras",
    "find_blocks": "models.plain_keras",
    "fine_tune": "studies.fine_tune",
    "freeze": "models.plain_keras",
    "layer_decay": "models.plain_keras",
    "load_run": "studies.finished_run",
    "load_model": "runs.model_file",
    "predict": "runs.saved_run",
}

__all__ = ["__version__", *sorted(_HOMES)]
__getattr__, __dir__ = lazy_names(__name__, _HOMES)

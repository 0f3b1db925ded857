"""The public names of the package for editors and type checkers, which do not see lazy imports."""

from tlkeras.config import ExperimentConfig as ExperimentConfig
from tlkeras.config import load_config as load_config
from tlkeras.models import build_model as build_model
from tlkeras.models.plain_keras import extract_features as extract_features
from tlkeras.models.plain_keras import find_blocks as find_blocks
from tlkeras.models.plain_keras import freeze as freeze
from tlkeras.models.plain_keras import layer_decay as layer_decay
from tlkeras.runs.model_file import load_model as load_model
from tlkeras.runs.saved_run import predict as predict
from tlkeras.studies.experiment import run_experiment as run_experiment
from tlkeras.studies.fine_tune import fine_tune as fine_tune
from tlkeras.studies.finished_run import load_run as load_run
from tlkeras.studies.source_free import adapt as adapt

__version__: str

"""Arrays that were handed over from Python: a run names them so, and nothing can read them again."""

from collections.abc import Mapping

from tlkeras.config import DataConfig, ExperimentConfig
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.npz import require_splits
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Raises `UserError`: arrays come as an argument, and no run keeps them."""
    raise UserError(
        "The data are arrays that were given from Python, and a run does not keep them. Train with them by "
        "run_experiment(..., data=...), or save them (numpy.savez: x_train, y_train, ...) and set "
        "data.source=npz:FILE. Received: data.source=arrays"
    )


SOURCE = Source("arrays", "arrays", "arrays from Python (data=...); run_experiment sets it", load)


def with_arrays(config: ExperimentConfig, arrays: Mapping[str, tuple] | None) -> ExperimentConfig:
    """Returns the config with arrays named as its source, where there are any: the source in it is not used.

    Raises:
        UserError: They are no dict of splits.
    """
    if arrays is None:
        return config
    require_splits(arrays)
    data = config.data.model_copy(update={"source": SOURCE.name})
    return config.model_copy(update={"data": data})

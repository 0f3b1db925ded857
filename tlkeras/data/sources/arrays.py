"""Arrays that were passed from Python. A run records them as `arrays` and cannot read them again."""

from collections.abc import Mapping

from tlkeras.config import DataConfig, ExperimentConfig
from tlkeras.data.array_parts import is_named, settings_of
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.npz import require_splits
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Raises `UserError`, because arrays are passed as an argument and a run does not store them."""
    raise UserError(
        "The data are arrays that were given from Python, and a run does not keep them. Train with them by "
        "run_experiment(..., data=...), or save them (numpy.savez: x_train, y_train, ...) and set "
        "data.source=npz:FILE. Received: data.source=arrays"
    )


SOURCE = Source("arrays", "arrays", "arrays from Python (data=...); run_experiment sets it", load)


def with_arrays(config: ExperimentConfig, arrays: Mapping[str, tuple] | None) -> ExperimentConfig:
    """Returns the config with `data.source="arrays"` if there are arrays. They replace its own data source.

    A dict of named inputs also sets `data.picture`, `data.text` and `data.columns` where they are not given.

    Args:
        config: Config of the experiment.
        arrays: Arrays by split, or None.

    Raises:
        UserError: The arrays are not a dict of splits.
    """
    if arrays is None:
        return config
    require_splits(arrays)
    given = next(iter(arrays.values()), None)
    x = given[0] if isinstance(given, tuple) and given else given
    named = settings_of(x, config.data) if is_named(x) else {}
    data = config.data.model_copy(update={"source": SOURCE.name, **named})
    return config.model_copy(update={"data": data})

"""TensorFlow Datasets, imported only when asked for."""

from tlkeras.config.data import DataConfig
from tlkeras.data.sources.base import Source, Table


def load(argument: str, config: DataConfig, seed: int) -> Table:
    raise NotImplementedError


SOURCE = Source("tfds", "tfds:NAME[/config]", "a prepared or downloadable TensorFlow dataset", load)

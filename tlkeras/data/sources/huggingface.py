"""Data sets of the package datasets (Hugging Face) that `save_to_disk` wrote."""

from dataclasses import replace
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data import huggingface
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.npz import table_of_arrays
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a folder that `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote.

    `tlkeras.data.huggingface.converted` says which columns are read.
    """
    folder = Path(argument).expanduser()
    if not argument or not folder.is_dir():
        raise UserError(f"data.source: no such folder. Received: {str(folder)!r}")
    try:
        import datasets
    except ImportError:
        raise UserError(
            "huggingface:DIR needs the package datasets: pip install datasets. Received: it is not installed"
        ) from None
    try:
        data = datasets.load_from_disk(str(folder))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} is not a folder that save_to_disk wrote. Received: {str(error).splitlines()[0]}"
        ) from None
    if isinstance(data, dict) and config.split_names:
        data = {ours: data[theirs] for ours, theirs in config.split_names.items() if theirs in data}
    text = config.text if isinstance(config.text, str) else None
    arrays, settings = huggingface.converted(data, str(folder), text, config.weights)
    names = settings.get("class_names")
    table = table_of_arrays(arrays, str(folder), None if names is None else tuple(names), config)
    return table if text is None else replace(table, modality="text")


SOURCE = Source(
    "huggingface", "huggingface:DIR", "a folder that save_to_disk of the package datasets wrote", load
)

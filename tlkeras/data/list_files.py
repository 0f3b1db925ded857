"""Lists (CSV, JSON lines, Parquet) as inputs of `predict`: rows with the columns of the training data."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.check import unreadable
from tlkeras.data.domains import concatenated
from tlkeras.data.modalities.base import Modality
from tlkeras.data.rows import Rows
from tlkeras.data.sources import read_source

_KINDS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


def lists_in(paths: Any) -> list[Path]:
    """Returns paths if all of them are lists whose rows can be inputs, else an empty list.

    Args:
        paths: One path or several.
    """
    given = paths if isinstance(paths, list | tuple) else [paths]
    if not all(isinstance(path, str | os.PathLike) for path in given):
        return []
    found = [Path(path) for path in given]
    return found if all(path.suffix.lower() in _KINDS and path.is_file() for path in found) else []


def list_batches(
    files: list[Path], config: DataConfig, modality: Modality, batch_size: int
) -> Iterator[tuple[Any, list[str], list[tuple[str, str]]]]:
    """Yields `(inputs, names, [(name, reason), ...])` of the rows of lists; see `Modality.file_batches`.

    A list has the columns of the training data; a column of labels is not needed. Texts of training data
    without columns are the column `text`, and those of pairs `text` and `text_pair`. A row is named by its
    place, e.g. `line:7`, or by its path if it is a picture or a sound alone. A long sound gives several
    inputs with the same name, whose outputs `Modality.combined` merges.

    Args:
        files: Lists.
        config: Config of the data, with its sizes resolved.
        modality: Modality of the rows, with what it was fitted to.
        batch_size: Largest number of inputs per batch.

    Raises:
        UserError: A list cannot be read, or lacks a column.
    """
    for file in files:
        source = f"{_KINDS[file.suffix.lower()]}:{file}"
        # multilabel, because labels of a single class would have to be complete
        changed = {"source": source, "split_names": {}, "weights": None, "task": "multilabel"}
        table = read_source(config.model_copy(update=changed), seed=0)
        rows = concatenated(list(table.splits.values()))
        if rows.kind == "files" and modality.name in ("image", "sound"):
            yield from modality.file_batches(list(rows.inputs), config, batch_size)
            continue
        rows = replace(rows, inputs=modality.encoded(rows.inputs, config), scan=modality.scan(config))
        bad = unreadable(rows)
        yield [], [], [(f"{file}, {rows.ids[row]}", reason) for row, reason in bad.items()]
        rows = rows.take(np.setdiff1d(np.arange(len(rows)), list(bad))) if bad else rows
        named = [str(name) if len(files) == 1 else f"{file}:{name}" for name in rows.ids]
        for inputs, places in batches_in_order(rows, config, modality, batch_size):
            yield inputs, [named[place] for place in places], []


def batches_in_order(
    rows: Rows, config: DataConfig, modality: Modality, batch_size: int
) -> Iterator[tuple[Any, np.ndarray]]:
    """Yields `(inputs, places)` of rows, where `places` are the numbers of the rows, int64 `(b,)`.

    A row with a long sound gives an input for each window, and its number comes several times in sequence.

    Args:
        rows: Rows that can be read.
        config: Config of the data, with its sizes resolved.
        modality: Modality of the rows.
        batch_size: Largest number of inputs per batch.
    """
    windows, owners = modality.windows(rows, config) or (rows, np.arange(len(rows)))
    read = modality.reader(windows, config.model_copy(update={"memory_mb": 0}))
    for begin in range(0, len(windows), batch_size):
        places = np.arange(begin, min(begin + batch_size, len(windows)))
        yield read(places), owners[places]

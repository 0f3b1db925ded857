"""Converts the usual kinds of data in Python to the form that a run takes: a source, or arrays by split."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data import huggingface
from tlkeras.data.array_parts import is_named, settings_of
from tlkeras.data.frames import arrays_of_frame, is_frame
from tlkeras.data.sources.base import SOURCES
from tlkeras.errors import UserError, nearest


class Given(NamedTuple):
    """Data in the form that a run takes.

    Attributes:
        source: Value of `data.source`, or None if there are arrays.
        arrays: Arrays by split, `{"train": (x, y), ...}`, also `(x, y, weights)` or
            `(x, y, weights, groups)`, or None.
        settings: Further settings of `data` that the data determine.
    """

    source: str | None
    arrays: dict[str, tuple] | None
    settings: dict[str, Any] = {}


# Settings of `data` that name the inputs of rows. With `seconds`, files and samples are sounds.
INPUTS = ("picture", "text", "columns", "seconds")
_OF_FILES = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".npz": "npz"}


def source_or_arrays(
    data: Any, sample_weights: Any = None, labels: Any = None, named: Mapping[str, Any] | None = None
) -> Given:
    """Returns data of one of these kinds in the form that a run takes.

    Args:
        data: Data of one of these kinds: a folder with one sub-folder per class; a `.csv`, `.jsonl`,
            `.parquet` or `.npz` file; a value of `data.source`; a tuple `(x, y)` or `(x, y, weights)`, where
            `x` is an array, a list of paths or texts, or a dict of named inputs
            (`tlkeras.data.array_parts`); such an `x` alone if there are `labels`; a pandas DataFrame
            (`tlkeras.data.frames`); a finite `tf.data.Dataset` of `(x, y)` or `(x, y, weights)`, batched or
            not, in which `x` holds pictures, encoded pictures, paths, texts or vectors; a dict of splits
            `{"train": (x, y), ...}`, whose values can also be data sets or DataFrames;
            or a `datasets.Dataset` or `DatasetDict` of Hugging Face (`tlkeras.data.huggingface`).
        sample_weights: Weights of the training rows: an array `(n,)` for `(x, y)`, for the split `train` of a
            dict or for a DataFrame; the name of a column for a DataFrame or a file; or None.
        labels: Labels `(n,)` of `data`, if these are inputs without labels; or None.
        named: The settings `picture`, `text`, `columns` and `seconds` of `data`, as far as they are given.
            They name the inputs in a dict or a DataFrame, and say whether these are sounds.

    Raises:
        UserError: The data or the weights have another type, or a path does not exist.
    """
    DataConfig(source="arrays", **(named or {}))  # names a mistake in one of them
    if isinstance(data, tuple) and len(data) == 2 and labels is None and is_frame(data[0]):
        data, labels = data
    if is_frame(data):
        return Given(None, *arrays_of_frame(data, labels, sample_weights, named))
    if labels is not None:
        if not (hasattr(data, "shape") or isinstance(data, list | Mapping)):
            raise UserError(
                "labels belong to an array, a list, a dict of inputs or a DataFrame. "
                f"Received: labels for {type(data).__name__}"
            )
        return _of_arrays({"all": _weighted((data, labels), sample_weights)}, named)
    if huggingface.is_dataset(data):
        return _of_huggingface(data, sample_weights, (named or {}).get("text"))
    if isinstance(data, str | os.PathLike):
        return Given(_source(os.fspath(data)), None, _column_of_weights(sample_weights))
    if isinstance(data, tuple):
        return _of_arrays({"all": _weighted(data, sample_weights)}, named)
    if isinstance(data, Mapping):
        return _of_splits(data, sample_weights, named)
    if hasattr(data, "element_spec"):
        return Given(None, {"all": _weighted(_arrays_of(data), sample_weights)})
    raise UserError(
        "data must be a folder, a file, a data source, (x, y), a dict of splits, a DataFrame, a "
        f"tf.data.Dataset or a datasets.Dataset. Received: {type(data).__name__}"
    )


def _of_splits(data: Mapping[str, Any], weights: Any, named: Mapping[str, Any] | None) -> Given:
    """Returns the arrays of a dict of splits, whose values are arrays, data sets or DataFrames."""
    if not {"train", "all"} & set(data) and not any(isinstance(rows, tuple) for rows in data.values()):
        raise UserError(
            "A dict holds splits ('train', 'val', 'test'), or inputs and needs labels: (inputs, labels). "
            f"Received: a dict of {', '.join(map(str, data)) or 'nothing'}"
        )
    arrays, settings = {}, {}
    for split, rows in data.items():
        pair: Any = rows if isinstance(rows, tuple) and len(rows) == 2 else (rows, None)
        frame, labels = pair
        if not is_frame(frame):
            arrays[split] = _arrays_of(rows)
            continue
        of_frame, found = arrays_of_frame(frame, labels, None, settings or named, one_split=True)
        arrays[split], settings = of_frame["all"], settings or found
    if weights is not None and "train" not in arrays:
        raise UserError(f"sample_weights belong to the split train. Received: splits {', '.join(arrays)}")
    if weights is not None:
        arrays["train"] = _weighted(arrays["train"], weights)
    return Given(None, arrays, settings) if settings else _of_arrays(arrays, named)


def _of_arrays(arrays: dict[str, Any], named: Mapping[str, Any] | None) -> Given:
    """Returns arrays by split with the settings that name the inputs of a dict."""
    rows = next(iter(arrays.values()))
    x = rows[0] if isinstance(rows, tuple) else rows
    if not is_named(x):
        return Given(None, arrays)
    found = settings_of(x, DataConfig(source="arrays", **(named or {})))
    if "columns" in found:
        found["columns"] = {name: {} for name in found["columns"]}
    return Given(None, arrays, dict(named or {}) | found)


def _of_huggingface(data: Any, weights: Any, text: str | None) -> Given:
    column = weights if isinstance(weights, str) else None
    arrays, settings = huggingface.converted(data, text=text, weights=column)
    if weights is not None and column is None:
        split = "train" if "train" in arrays else "all"
        arrays[split] = _weighted(arrays[split], weights)
    return Given(None, arrays, settings)


def _column_of_weights(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, str):
        raise UserError(
            "The weights of a file are one of its columns: sample_weights='COLUMN'. "
            f"Received: {type(given).__name__}"
        )
    return {} if given is None else {"weights": given}


def _weighted(rows: Any, weights: Any) -> Any:
    """Returns `(x, y, weights)`, or the rows unchanged without weights."""
    if weights is None:
        return rows
    without = isinstance(rows, tuple) and (len(rows) == 2 or (len(rows) == 4 and rows[2] is None))
    if isinstance(weights, str) or not without:
        received = f"sample_weights={weights!r}" if isinstance(weights, str) else "weights in both"
        raise UserError(f"sample_weights is an array with one number per row of (x, y). Received: {received}")
    return (*rows[:2], weights, *rows[3:])


def _source(text: str) -> str:
    path = Path(text).expanduser()
    if path.is_dir():
        return f"folder:{path}"
    if path.is_file() and path.suffix.lower() in _OF_FILES:
        return f"{_OF_FILES[path.suffix.lower()]}:{path}"
    if text.partition(":")[0] in SOURCES.names():
        return text
    here = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    raise UserError(
        "data must name a folder, a .csv, .jsonl, .parquet or .npz file, or a source of `tlkeras list "
        f"sources`.{nearest(path.name, here)} There is no such file or folder. Received: {text!r}"
    )


def _arrays_of(rows: Any) -> Any:
    """Returns the arrays of a finite data set. Other values are returned unchanged."""
    if not hasattr(rows, "element_spec"):
        return rows
    spec = rows.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3) or not all(hasattr(x, "shape") for x in spec):
        raise UserError(
            "A tf.data.Dataset must yield (x, y) or (x, y, weights), each a tensor. Received: elements of "
            f"{spec}"
        )
    if int(rows.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise UserError("A tf.data.Dataset must be finite: use take(n). Received: an infinite one")
    elements = list(rows.as_numpy_iterator())
    if not elements:
        raise UserError("A tf.data.Dataset must have rows. Received: an empty one")
    # a picture has three axes, a vector one, and a path or text none: one axis more means batches
    first = np.asarray(elements[0][0])
    batched = first.ndim == 1 if first.dtype.kind in "OS" else first.ndim in (2, 4)
    return tuple(_joined(parts, batched) for parts in zip(*elements, strict=True))


def _joined(parts: Sequence[Any], batched: bool) -> Any:
    """Returns the values of all rows as an array, and paths and texts as a list of `str`."""
    shapes = {np.shape(part)[1:] if batched else np.shape(part) for part in parts}
    if len(shapes) > 1:
        raise UserError(
            "A tf.data.Dataset must yield rows of one shape: resize its pictures, or yield their paths. "
            f"Received: shapes {', '.join(map(str, sorted(shapes)[:4]))}"
        )
    values = np.concatenate(parts) if batched else parts
    if not isinstance(values[0], bytes):
        return np.asarray(values)
    try:
        return [text.decode() for text in values]
    except UnicodeDecodeError:  # encoded pictures, which are no UTF-8
        encoded = np.empty(len(values), object)
        encoded[:] = values
        return encoded

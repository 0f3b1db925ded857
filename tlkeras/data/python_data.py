"""Converts the usual kinds of data in Python to the form that a run takes: a source, or arrays by split."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.data import huggingface
from tlkeras.data.sources.base import SOURCES
from tlkeras.errors import UserError, nearest, unknown


class Given(NamedTuple):
    """Data in the form that a run takes.

    Attributes:
        source: Value of `data.source`, or None if there are arrays.
        arrays: Arrays by split, `{"train": (x, y), ...}` or `{"train": (x, y, weights), ...}`, or None.
        settings: Further settings of `data` that the data determine.
    """

    source: str | None
    arrays: dict[str, tuple] | None
    settings: dict[str, Any] = {}


_PATHS = ("path", "file", "filename", "image", "text")
_WEIGHTS = "sample_weights of fine_tune"
_LABELS = ("label", "class", "target", "y")
_OF_FILES = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".npz": "npz"}


def source_or_arrays(data: Any, sample_weights: Any = None) -> Given:
    """Returns data of one of these kinds in the form that a run takes.

    Args:
        data: Data of one of these kinds: a folder with one sub-folder per class; a `.csv`, `.jsonl`,
            `.parquet` or `.npz` file; a value of `data.source`; a tuple `(x, y)` or `(x, y, weights)`; a dict
            of splits `{"train": (x, y), ...}`; a pandas DataFrame with a column of paths or texts (`path`,
            `file`, `filename`, `image`, `text`), a column of labels (`label`, `class`, `target`, `y`) and
            optionally `split`; a finite `tf.data.Dataset` of `(x, y)` or `(x, y, weights)`, batched or not.
            The values of a dict of splits can also be data sets; or a `datasets.Dataset` or `DatasetDict` of
            Hugging Face (`tlkeras.data.huggingface`).
        sample_weights: Weights of the training rows: an array `(n,)` for `(x, y)`, for the split `train` of a
            dict or for a DataFrame; the name of a column for a DataFrame or a file; or None.

    Raises:
        UserError: The data or the weights have another type, or a path does not exist.
    """
    if huggingface.is_dataset(data):
        return _of_huggingface(data, sample_weights)
    if isinstance(data, str | os.PathLike):
        return Given(_source(os.fspath(data)), None, _column_of_weights(sample_weights))
    if isinstance(data, tuple):
        return Given(None, {"all": _weighted(data, sample_weights)})
    if isinstance(data, Mapping):
        arrays = {split: _arrays_of(rows) for split, rows in data.items()}
        if sample_weights is not None and "train" not in arrays:
            raise UserError(f"sample_weights belong to the split train. Received: splits {', '.join(arrays)}")
        if sample_weights is not None:
            arrays["train"] = _weighted(arrays["train"], sample_weights)
        return Given(None, arrays)
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return Given(None, _splits_of_frame(data, sample_weights))
    if hasattr(data, "element_spec"):
        return Given(None, {"all": _weighted(_arrays_of(data), sample_weights)})
    raise UserError(
        "data must be a folder, a file, a data source, (x, y), a dict of splits, a DataFrame, a "
        f"tf.data.Dataset or a datasets.Dataset. Received: {type(data).__name__}"
    )


def _of_huggingface(data: Any, weights: Any) -> Given:
    column = weights if isinstance(weights, str) else None
    arrays, settings = huggingface.converted(data, weights=column)
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
    if isinstance(weights, str) or not isinstance(rows, tuple) or len(rows) != 2:
        received = f"sample_weights={weights!r}" if isinstance(weights, str) else "weights in both"
        raise UserError(f"sample_weights is an array with one number per row of (x, y). Received: {received}")
    return (*rows, weights)


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


def _splits_of_frame(frame: Any, weights: Any) -> dict[str, tuple]:
    columns = [str(name) for name in frame.columns]
    chosen = [_column(columns, _PATHS, "paths or texts"), _column(columns, _LABELS, "labels")]
    if isinstance(weights, str):
        if weights not in columns:
            raise unknown("column of sample_weights", weights, columns)
        chosen.append(weights)
    elif weights is not None:
        if len(weights) != len(frame):
            raise UserError(f"sample_weights needs {len(frame)} numbers. Received: {len(weights)}")
        frame = frame.assign(**{_WEIGHTS: np.asarray(weights)})
        chosen.append(_WEIGHTS)
    parts = dict(list(frame.groupby("split"))) if "split" in columns else {"all": frame}
    return {
        str(split): (rows[chosen[0]].tolist(), *(rows[name].to_numpy() for name in chosen[1:]))
        for split, rows in parts.items()
    }


def _column(columns: list[str], known: tuple[str, ...], what: str) -> str:
    found = [name for name in columns if name.lower() in known]
    if len(found) != 1:
        raise UserError(
            f"A DataFrame needs one column of {what}: {', '.join(known)}. "
            f"Received: columns {', '.join(columns) or 'none'}"
        )
    return found[0]


def _arrays_of(rows: Any) -> Any:
    """Returns the arrays of a finite data set. Other values are returned unchanged."""
    if not hasattr(rows, "element_spec"):
        return rows
    spec = rows.element_spec
    if not isinstance(spec, tuple) or len(spec) not in (2, 3):
        raise UserError(
            f"A tf.data.Dataset must yield (x, y) or (x, y, weights). Received: elements of {spec}"
        )
    if int(rows.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise UserError("A tf.data.Dataset must be finite: use take(n). Received: an infinite one")
    x, *others = zip(*rows.as_numpy_iterator(), strict=True)
    # pictures have three axes and vectors one, so that an even number of axes says that there are batches
    batched = spec[0].shape.rank in (2, 4)
    join = np.concatenate if batched else np.stack
    return join(x), *(join(part) if batched else np.asarray(part) for part in others)

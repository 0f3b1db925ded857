"""Converts the usual kinds of data in Python to the form that a run takes: a source, or arrays by split."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data.sources.base import SOURCES
from tlkeras.errors import UserError, nearest

Given = tuple[str | None, dict[str, tuple] | None]

_PATHS = ("path", "file", "filename", "image", "text")
_LABELS = ("label", "class", "target", "y")
_OF_FILES = {".csv": "csv", ".npz": "npz"}


def source_or_arrays(data: Any) -> Given:
    """Returns `(data.source, arrays)` for data of one of these kinds. One of the two is None.

    Args:
        data: Data of one of these kinds: a folder with one sub-folder per class; a `.csv` or `.npz` file; a
            value of `data.source`; a tuple `(x, y)`; a dict of splits `{"train": (x, y), ...}`; a pandas
            DataFrame with a column of paths or texts (`path`, `file`, `filename`, `image`, `text`), a column
            of labels (`label`, `class`, `target`, `y`) and optionally `split`; a finite `tf.data.Dataset` of
            `(x, y)`, batched or not. The values of a dict of splits can also be data sets.

    Raises:
        UserError: The data have another type, or a path does not exist.
    """
    if isinstance(data, str | os.PathLike):
        return _source(os.fspath(data)), None
    if isinstance(data, tuple):
        return None, {"all": data}
    if isinstance(data, Mapping):
        return None, {split: _arrays_of(rows) for split, rows in data.items()}
    if hasattr(data, "iloc") and hasattr(data, "columns"):
        return None, _splits_of_frame(data)
    if hasattr(data, "element_spec"):
        return None, {"all": _arrays_of(data)}
    raise UserError(
        "data must be a folder, a .csv or .npz file, a data source, (x, y), a dict of splits, a "
        f"DataFrame or a tf.data.Dataset. Received: {type(data).__name__}"
    )


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
        "data must name a folder, a .csv or .npz file, or a source of `tlkeras list "
        f"sources`.{nearest(path.name, here)} There is no such file or folder. Received: {text!r}"
    )


def _splits_of_frame(frame: Any) -> dict[str, tuple]:
    columns = [str(name) for name in frame.columns]
    paths = _column(columns, _PATHS, "paths or texts")
    labels = _column(columns, _LABELS, "labels")
    if "split" not in columns:
        return {"all": (frame[paths].tolist(), frame[labels].to_numpy())}
    return {
        str(split): (rows[paths].tolist(), rows[labels].to_numpy()) for split, rows in frame.groupby("split")
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
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise UserError(f"A tf.data.Dataset must yield pairs (x, y). Received: elements of {spec}")
    if int(rows.cardinality()) == -1:  # tf.data.INFINITE_CARDINALITY
        raise UserError("A tf.data.Dataset must be finite: use take(n). Received: an infinite one")
    x, y = zip(*rows.as_numpy_iterator(), strict=True)
    # pictures have three axes and vectors one, so that an even number of axes says that there are batches
    batched = spec[0].shape.rank in (2, 4)
    join = np.concatenate if batched else np.stack
    return join(x), join(y) if batched else np.asarray(y)

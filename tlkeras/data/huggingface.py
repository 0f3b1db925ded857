"""Data sets of the package datasets (Hugging Face) as arrays: pictures, texts or vectors, with labels."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlkeras.errors import UserError

_SPLITS = {"validation": "val", "valid": "val", "dev": "val"}
_LABELS = ("label", "labels", "class", "target", "y", "fine_label")
_TEXTS = ("text", "sentence", "review", "content")


class Converted(NamedTuple):
    """A data set as arrays.

    Attributes:
        arrays: `(x, y)` or `(x, y, weights)` by split. `x` holds encoded pictures, paths, texts or vectors.
        settings: Settings of `data` that follow from the columns: `class_names`, `task`, `text`.
    """

    arrays: dict[str, tuple]
    settings: dict[str, Any]


def is_dataset(data: Any) -> bool:
    """Whether an object is a `datasets.Dataset`, or a mapping of names to such, e.g. a `DatasetDict`."""
    if isinstance(data, Mapping):
        return bool(data) and all(map(is_dataset, data.values()))
    return hasattr(data, "features") and hasattr(data, "column_names")


def converted(
    data: Any, where: str = "data", text: str | None = None, weights: str | None = None
) -> Converted:
    """Returns the arrays of a data set.

    Pictures are a column of the feature `Image`. Otherwise `text` names the texts, or they are the column
    `text`, `sentence`, `review` or `content`, or the only column of strings; or a column of lists of numbers
    holds vectors. Labels are the column of the feature `ClassLabel` or of lists of it (multilabel), or else a
    column `label`, `labels`, `class`, `target` or `y`. The split `validation` becomes `val`.

    Args:
        data: `datasets.Dataset`, or a dict of splits.
        where: Name of the data in messages.
        text: Column of texts, or None.
        weights: Column of sample weights, or None.

    Raises:
        UserError: A column is missing, or several columns could be meant.
    """
    splits = dict(data) if isinstance(data, Mapping) else {"all": data}
    first = next(iter(splits.values()))
    if not hasattr(first, "__len__"):
        raise UserError(
            f"{where}: a streamed data set has no rows to draw from. Received: {type(first).__name__}"
        )
    columns = dict(first.features)
    inputs = _inputs(columns, where, text)
    others = {name: kind for name, kind in columns.items() if name != inputs}
    label = _label(others, where)
    if weights is not None and weights not in columns:
        raise UserError(
            f"{where} has no column {weights!r} of weights. Received: columns {', '.join(columns)}"
        )
    arrays = {}
    for name, rows in splits.items():
        x, y = _values(rows, inputs), _targets(rows, label)
        arrays[_SPLITS.get(name, name)] = (x, y) if weights is None else (x, y, np.asarray(rows[weights]))
    return Converted(arrays, _settings(columns, inputs, label))


def _inputs(columns: Mapping[str, Any], where: str, text: str | None) -> str:
    if text is not None and text in columns:
        return text
    pictures = [name for name, kind in columns.items() if _kind(kind) == "Image"]
    texts = [name for name, kind in columns.items() if getattr(kind, "dtype", None) == "string"]
    usual = [name for name in texts if name in _TEXTS]
    vectors = [name for name, kind in columns.items() if _kind(_inner(kind)) == "Value" and _is_list(kind)]
    for found in (pictures, usual, [name for name in texts if name not in _LABELS], vectors):
        if len(found) == 1:
            return found[0]
        if found:
            break
    raise UserError(
        f"{where} needs one column of pictures (Image), of texts or of vectors; data.text names the texts. "
        f"Received: columns {', '.join(f'{name} ({_kind(kind)})' for name, kind in columns.items())}"
    )


def _label(columns: Mapping[str, Any], where: str) -> str | None:
    classes = [name for name, kind in columns.items() if _kind(_inner(kind)) == "ClassLabel"]
    usual = [name for name in columns if name in _LABELS]
    found = [name for name in classes if name in usual] or classes or usual
    if len(found) > 1:
        raise UserError(
            f"{where} has several columns of labels: keep one (select_columns). Received: {', '.join(found)}"
        )
    return found[0] if found else None


def _values(rows: Any, column: str) -> Any:
    """Returns vectors as an array, texts as a list, and pictures as paths or encoded."""
    if _kind(rows.features[column]) != "Image":
        values = list(rows[column])
        return values if isinstance(values[0], str) else np.asarray(values, np.float32)
    encoded = type(rows.features[column])(decode=False)  # pictures stay as they are: tlkeras decodes them
    found = [row[column] for row in rows.select_columns([column]).cast_column(column, encoded)]
    kept = [row["bytes"] if row["bytes"] is not None else row["path"] for row in found]
    values = np.empty(len(kept), object)
    values[:] = kept
    return values


def _targets(rows: Any, column: str | None) -> np.ndarray | None:
    if column is None:
        return None
    values, kind = list(rows[column]), rows.features[column]
    if _is_list(kind) and _kind(_inner(kind)) == "ClassLabel":
        return np.array([np.isin(np.arange(len(_inner(kind).names)), row) for row in values], np.float32)
    return np.asarray(values)


def _settings(columns: Mapping[str, Any], inputs: str, label: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if label is not None and _kind(_inner(columns[label])) == "ClassLabel":
        found["class_names"] = list(_inner(columns[label]).names)
        if _is_list(columns[label]):
            found["task"] = "multilabel"
    if getattr(columns[inputs], "dtype", None) == "string":
        found["text"] = inputs
    return found


def _kind(feature: Any) -> str:
    return type(feature).__name__


def _is_list(feature: Any) -> bool:
    return _inner(feature) is not feature


def _inner(feature: Any) -> Any:
    """Returns the feature of the entries of a list, or the feature itself."""
    if isinstance(feature, Sequence) and not isinstance(feature, str):
        return feature[0]
    return getattr(feature, "feature", feature)

"""Shapes of what a model takes for a row: one tensor, or several by name."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Without the batch: `(height, width, 3)`, or of several inputs `{"ids": (48,), "mask": (48,)}`.
Shape = tuple[int, ...] | dict[str, tuple[int, ...]]
# The name of a single input, in models and in `Modality.dtypes`.
SINGLE = "inputs"


def shapes_by_name(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all inputs by name; a single one is called `inputs`."""
    return shape if isinstance(shape, dict) else {SINGLE: tuple(shape)}


def like(shape: Shape, by_name: Mapping[str, Any]) -> Any:
    """Returns values by name as a model with such inputs takes them: the single one, or the dict."""
    return dict(by_name) if isinstance(shape, dict) else by_name[SINGLE]


def shape_of(inputs: Any) -> Shape:
    """Returns the shape of one row of inputs `(n, ...)`, which are an array or a dict of arrays."""
    if isinstance(inputs, dict):
        return {name: tuple(part.shape[1:]) for name, part in inputs.items()}
    return tuple(inputs.shape[1:])


def shape_as_json(shape: Shape) -> list | dict:
    """Returns a shape as JSON values."""
    return {name: list(part) for name, part in shape.items()} if isinstance(shape, dict) else list(shape)


def shape_from_json(facts: list | dict) -> Shape:
    """Returns the shape that `shape_as_json` described."""
    if isinstance(facts, dict):
        return {name: tuple(part) for name, part in facts.items()}
    return tuple(facts)


def shape_in_words(shape: Shape) -> str:
    """Returns a shape for people: `96 x 96 x 3`, or `ids 48, mask 48`."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {shape_in_words(part)}" for name, part in shape.items())
    return " x ".join(map(str, shape))


def zeros(shape: Shape, count: int, dtypes: Mapping[str, str]) -> Any:
    """Returns inputs of `count` rows that are all zero.

    Args:
        shape: The shape of one row.
        count: The number of rows.
        dtypes: By the names of inputs; float32 where there is none.
    """
    parts = shapes_by_name(shape).items()
    return like(shape, {n: np.zeros((count, *part), dtypes.get(n, "float32")) for n, part in parts})


def columns(inputs: Mapping[str, Any]) -> np.ndarray:
    """Returns arrays `(n, ...)` by name as one array of rows, as `Rows.inputs` holds several columns."""
    parts = {name: np.asarray(part) for name, part in inputs.items()}
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"Columns must have as many rows as each other. Received: {lengths}")
    rows = np.empty(
        lengths.popitem()[1], [(name, part.dtype, part.shape[1:]) for name, part in parts.items()]
    )
    for name, part in parts.items():
        rows[name] = part
    return rows


def by_column(rows: np.ndarray) -> Any:
    """Returns what `columns` joined, as a dict of arrays; an array of one column as it is."""
    names = rows.dtype.names
    return rows if names is None else {name: rows[name] for name in names}


def joined(parts: list[Any]) -> Any:
    """Returns batches `(n, ...)`, all arrays or all dicts of arrays, one behind the other."""
    if isinstance(parts[0], dict):
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    return np.concatenate([np.asarray(part) for part in parts])

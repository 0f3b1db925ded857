"""Shapes of the inputs of a model for one row: one tensor, or several named tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

# The batch axis is left out: `(height, width, 3)`, or `{"ids": (48,), "mask": (48,)}` for several inputs.
# Who reads a shape knows its form, for example because pictures are a single input: see `tlkeras.maybe`.
if TYPE_CHECKING:
    Shape: TypeAlias = Any
else:
    Shape = tuple[int, ...] | dict[str, tuple[int, ...]]
# The name of a single input, in models and in `Modality.dtypes`.
SINGLE = "inputs"


def shapes_by_name(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of all inputs by name. A single input has the name `inputs`."""
    return shape if isinstance(shape, dict) else {SINGLE: tuple(shape)}


def like(shape: Shape, by_name: Mapping[str, Any]) -> Any:
    """Returns values in the form that a model with inputs of this shape takes.

    Args:
        shape: Shape of one row of the inputs.
        by_name: Values by the name of the input.

    Returns:
        The single value if there is one input, else a dict.
    """
    return dict(by_name) if isinstance(shape, dict) else by_name[SINGLE]


def shape_of(inputs: Any) -> Shape:
    """Returns the shape of one row of inputs `(n, ...)`. The inputs are an array or a dict of arrays."""
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
    """Returns a shape as text for people: `96 x 96 x 3`, or `ids 48, mask 48`."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {shape_in_words(part)}" for name, part in shape.items())
    return " x ".join(map(str, shape))


def zeros(shape: Shape, count: int, dtypes: Mapping[str, str]) -> Any:
    """Returns inputs of `count` rows that are all zero.

    Args:
        shape: Shape of one row.
        count: Number of rows.
        dtypes: Dtypes by the name of the input. An input without an entry is float32.
    """
    parts = shapes_by_name(shape).items()
    return like(shape, {n: np.zeros((count, *part), dtypes.get(n, "float32")) for n, part in parts})


def columns(inputs: Mapping[str, Any]) -> np.ndarray:
    """Joins named arrays `(n, ...)` to one structured array of rows `(n,)`, the form of `Rows.inputs`."""
    parts = {name: np.asarray(part) for name, part in inputs.items()}
    lengths = {name: len(part) for name, part in parts.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"All columns must have the same number of rows. Received: {lengths}")
    rows = np.empty(
        lengths.popitem()[1], [(name, part.dtype, part.shape[1:]) for name, part in parts.items()]
    )
    for name, part in parts.items():
        rows[name] = part
    return rows


def by_column(rows: np.ndarray) -> Any:
    """Splits what `columns` joined into a dict of arrays. Any other array is returned unchanged."""
    names = rows.dtype.names
    return rows if names is None else {name: rows[name] for name in names}


def joined(parts: list[Any]) -> Any:
    """Concatenates batches `(n, ...)`. They are all arrays, or all dicts of arrays."""
    if isinstance(parts[0], dict):
        return {name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]}
    return np.concatenate([np.asarray(part) for part in parts])

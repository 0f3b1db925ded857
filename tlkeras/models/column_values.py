"""The first layers of a model of columns: they standardise numbers and give each category an input."""

from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from tlkeras.config.columns import ColumnConfig


def column_values(x, columns: Mapping[str, ColumnConfig]):
    """Returns the values of columns as inputs of a network.

    These are the standardised numbers (0 where one is missing), ones and zeros for the categories (all zeros
    where the category is unknown or missing), and ones for the missing values of columns with a `flag`. The
    layers are Keras' own and have no weights.

    Args:
        x: Symbolic values, float32 `(b, columns)`, as `tlkeras.data.modalities.Columns` describes them.
        columns: Columns by name, as a run fits them. Without them, the values are returned unchanged.

    Returns:
        float32 `(b, width_of(columns))`.
    """
    facts = list(columns.values())
    numbers = [place for place, column in enumerate(facts) if column.kind != "category"]
    flagged = [place for place, column in enumerate(facts) if column.flag]
    parts = []
    if numbers:
        parts.append(_standardised(ops.take(x, numbers, axis=1), [facts[place] for place in numbers]))
    for place, column in enumerate(facts):
        if column.kind == "category":
            # no one_hot, because runtimes differ in its answer to an unknown category
            places = np.arange(len(column.values), dtype="float32")
            parts.append(ops.cast(ops.equal(x[:, place : place + 1], places), "float32"))
    if flagged:
        parts.append(ops.cast(ops.isnan(ops.take(x, flagged, axis=1)), "float32"))
    if len(parts) < 2:
        return parts[0] if parts else x
    return keras.layers.Concatenate(dtype="float32", name="columns_values")(parts)


def width_of(columns: Mapping[str, ColumnConfig]) -> int:
    """Returns the number of values that `column_values` makes of a row."""
    return sum(len(c.values or ()) if c.kind == "category" else 1 for c in columns.values()) + sum(
        bool(column.flag) for column in columns.values()
    )


def _standardised(x, columns: list[ColumnConfig]):
    mean = [column.mean or 0.0 for column in columns]
    variance = [(column.deviation or 1.0) ** 2 for column in columns]
    layer = keras.layers.Normalization(
        axis=-1, mean=mean, variance=variance, dtype="float32", name="columns_numbers"
    )
    return ops.where(ops.isnan(x), 0.0, layer(x))

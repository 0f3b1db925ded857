"""Columns of a table: numbers and categories, of which some may be missing."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.columns import ColumnConfig
from tlkeras.data.modalities.base import Modality
from tlkeras.data.rows import row_ids
from tlkeras.errors import UserError, nearest

FILE = "columns.json"  # its name in runs and exports
UNKNOWN = -1.0  # stands for a category that no training row has
MISSING = ("", "na", "n/a", "nan", "null", "none")
_MOST_CATEGORIES = 1000
_LARGEST = float(np.finfo(np.float32).max)


class Columns(Modality):
    """One float32 value for each column, `(columns,)`: a number, or the place of a category in its `values`.

    A missing value is NaN, and an unknown category is -1. The first layers of the model standardise the
    numbers and give each category an input of its own.

    Args:
        columns: Columns by name. `fitted` fills in what they do not say.
    """

    name = "columns"
    plural = "rows of columns"
    hub_name = "tabular"
    values = "float32 values, one for each column: numbers, or places of categories; NaN where one is missing"
    augmentations = ()
    explanation = "tlkeras.evaluation.explain_columns:leave_out"

    def __init__(self, columns: Mapping[str, ColumnConfig] | None = None):
        self.columns = dict(columns or {})

    def with_config(self, config):
        return Columns(config.columns)

    def of_table(self, table, config):
        names = list(self.columns)
        for split, rows in table.splits.items():
            if rows.inputs.ndim != 2 or rows.inputs.shape[1] != len(names):
                raise UserError(
                    f"data.columns names {len(names)} columns of a list (csv, jsonl, parquet) or of a dict "
                    f"from Python. Received: {rows.kind} in {split} of {config.source}"
                )
        splits = {split: replace(rows, ids=_ids(rows, split)) for split, rows in table.splits.items()}
        return replace(table, splits=splits, modality=self)

    def fitted(self, train):
        cells = train.inputs
        each = enumerate(self.columns.items())
        return Columns({name: _fitted(name, column, cells[:, i]) for i, (name, column) in each})

    def encoded(self, inputs, config: Any, missing=False):
        each = enumerate(self.columns.items())
        return np.stack([_encoded(name, column, inputs[:, i]) for i, (name, column) in each], axis=1)

    def of_run(self, folder):
        file = Path(folder) / FILE
        if not file.is_file():
            return self
        found = json.loads(file.read_text("utf-8"))
        return Columns({name: ColumnConfig(**facts) for name, facts in found.items()})

    def config_of_run(self, config, folder):
        return config.model_copy(update={"columns": self.of_run(folder).columns})

    @property
    def files(self):
        facts = {name: column.model_dump(mode="json") for name, column in self.columns.items()}
        return {FILE: json.dumps(facts, indent=1, ensure_ascii=False)} if facts else {}

    def resolved(self, config, shape):
        return config.model_copy(update={"columns": self.columns}) if self.columns else config

    def assumed_shape(self, config, default_size=None):
        return (len(config.columns),)

    def check_split(self, split, rows, train):
        pass  # all have the same columns

    def check_kind(self, name, other: Any):
        super().check_kind(name, other)
        if list(other.columns) != list(self.columns):
            raise UserError(
                f"All domains must have the same columns: leave adaptation.{name}.columns out. Received: "
                f"{', '.join(self.columns)} and {', '.join(other.columns)}"
            )

    def facts_of_rows(self, rows, config):
        facts = {}
        for (name, column), x in zip(self.columns.items(), rows.inputs.T, strict=True):
            there = x[~np.isnan(x)]
            words = {"missing": f"{np.isnan(x).mean():.1%}"}
            if column.kind == "category":
                words |= {"categories": len(column.values), "unknown": f"{(x == UNKNOWN).mean():.1%}"}
            elif len(there):
                words |= {
                    n: f"{f(there):.4g}" for n, f in (("min", np.min), ("mean", np.mean), ("max", np.max))
                }
            facts[f"column {name}"] = words
        return facts

    def inputs_like_training(self, x, form, shape) -> np.ndarray:
        cells = cells_of(x, list(self.columns))
        if not len(cells):
            raise UserError("x must hold at least one row. Received: no row")
        return self.encoded(cells, None)

    def texts(self, x):
        names = [*self.columns.items()]
        return [
            [f"{name}: {_shown(column, value)}" for (name, column), value in zip(names, row, strict=True)]
            for row in np.asarray(x)
        ]


def cells_of(x: Any, names: list[str]) -> np.ndarray:
    """Returns the cells of a table, object `(n, columns)`, in the order of `names`.

    Args:
        x: Mapping from the name of a column to its values, DataFrame, list of such mappings for single rows,
            or an array `(n, columns)` in this order.

    Raises:
        UserError: A column is missing, or the table has another form.
    """
    table: Any = x
    if isinstance(x, list | tuple) and x and all(isinstance(row, Mapping) for row in x):
        table = {name: [row.get(name) for row in x] for name in {name for row in x for name in row}}
    if isinstance(table, Mapping) or hasattr(table, "iloc"):
        for name in names:
            if name not in table:
                received = ", ".join(map(str, table)) or "nothing"
                raise UserError(
                    f"x needs a column {name!r}.{nearest(name, list(table))} Received: {received}"
                )
        given = [np.asarray(table[name], object) for name in names]
        if len({column.shape for column in given}) > 1 or given[0].ndim != 1:
            lengths = ", ".join(f"{n} {c.shape}" for n, c in zip(names, given, strict=True))
            raise UserError(f"All columns must have the same number of values. Received: {lengths}")
        return np.stack(given, axis=1)
    cells = np.asarray(x, object)
    if cells.ndim != 2 or cells.shape[1] != len(names):
        raise UserError(
            f"x must have the columns {', '.join(names)}: a dict of lists, a DataFrame or an array "
            f"(n, {len(names)}). Received: shape {cells.shape}"
        )
    return cells


def _ids(rows, split: str) -> Any:
    return row_ids(len(rows), split) if rows.ids is rows.inputs else rows.ids


def is_absent(value: Any) -> bool:
    """Whether a value stands for nothing: None, an empty text, NaN, or what pandas has for a missing value.

    Args:
        value: A value of a dict or a DataFrame.
    """
    if isinstance(value, str):
        return not value.strip()
    nan = isinstance(value, float) and np.isnan(value)
    return value is None or nan or type(value).__name__ == "NAType"


def is_missing(cell: Any) -> bool:
    """Whether a cell of a table has no value. Words such as `NA` also stand for none.

    Args:
        cell: Value of a column.
    """
    return is_absent(cell) or str(cell).strip().lower() in MISSING


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return None


def as_name(cell: Any) -> str:
    """Returns a category or a group as text. Whole numbers have no point, so that 3 and 3.0 are the same.

    Args:
        cell: Value of a column.
    """
    text = str(cell).strip()
    return text.removesuffix(".0") if text.removesuffix(".0").lstrip("-").isdigit() else text


def _fitted(name: str, column: ColumnConfig, cells: np.ndarray) -> ColumnConfig:
    """Returns a column with what it does not say taken from the cells `(n,)` of the training rows."""
    there = [cell for cell in cells if not is_missing(cell)]
    if not there:
        raise UserError(f"data.columns: leave {name!r} out. Received: no value in {len(cells)} training rows")
    flag = len(there) < len(cells) if column.flag is None else column.flag
    kind = column.kind
    if kind == "auto":
        known = column.values is not None or any(_number(cell) is None for cell in there)
        kind = "category" if known else "number"
    if kind == "number":
        numbers = _encoded(name, ColumnConfig(kind=kind), np.array(there, object)).astype(np.float64)
        mean = float(numbers.mean()) if column.mean is None else column.mean
        deviation = column.deviation or float(numbers.std()) or 1.0
        return ColumnConfig(kind=kind, mean=mean, deviation=deviation, flag=flag)
    values = column.values or tuple(sorted({as_name(cell) for cell in there}))
    if len(values) > _MOST_CATEGORIES:
        raise UserError(
            f"data.columns: {name!r} is no category, as it has more than {_MOST_CATEGORIES} values: leave it "
            f"out, or read it as data.text. Received: {len(values)} values in {len(cells)} training rows"
        )
    return ColumnConfig(kind=kind, values=values, flag=flag)


def _encoded(name: str, column: ColumnConfig, cells: np.ndarray) -> np.ndarray:
    """Returns the cells `(n,)` of a column as float32 values."""
    if column.kind == "category":
        places = {value: place for place, value in enumerate(column.values or ())}
        found = [np.nan if is_missing(cell) else places.get(as_name(cell), UNKNOWN) for cell in cells]
        return np.array(found, np.float32)
    numbers = [np.nan if is_missing(cell) else _number(cell) for cell in cells]
    for row, number in enumerate(numbers):
        if number is None or abs(number) > _LARGEST:
            raise UserError(
                f"The column {name!r} holds numbers: correct it, or set data.columns.{name}=category before "
                f"training. Received: {str(cells[row])[:40]!r}"
            )
    return np.array(numbers, np.float32)


def _shown(column: ColumnConfig, value: float) -> str:
    if np.isnan(value):
        return "missing"
    if column.kind == "category":
        return "unknown" if value == UNKNOWN else column.values[int(value)]
    return f"{value:.4g}"

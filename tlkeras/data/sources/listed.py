"""Reads lists of images, texts, columns of a table, or several of them, in any file format."""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.groups import check_groups, completed_groups, groups_of_list, names_of_places
from tlkeras.data.input_shapes import columns as joined
from tlkeras.data.modalities.several import FILES, several_name
from tlkeras.data.presence import missing_file
from tlkeras.data.rows import Rows, checked_weights
from tlkeras.data.sources.base import Table
from tlkeras.data.text_column import TextColumn, TextColumnBuilder
from tlkeras.errors import UserError, nearest

OPTIONAL = ("label", "split", "group")
FORM = "images or sounds (column path), texts (data.text), numbers and categories (data.columns), or several"


def listed(
    argument: str, config: DataConfig, kind: str, lines_of: Callable[[Path, tuple[str, ...]], Iterable[dict]]
) -> Table:
    """Reads a list of rows: paths, texts, cells of a table or several; optionally label, split and group.

    In rows of several parts, each part may be missing, but not all of them.

    Paths are relative to the folder of the file. Labels are class names, or `a|b` for several labels
    (multilabel, regression). A split has no labels if there is no column `label`, or if it is empty in every
    row of the split.

    Args:
        argument: Path of the file.
        config: Config of the domain. `text` names the columns of texts, `columns` those of numbers and
            categories, and `picture` that of the paths. The latter is `path` if there is nothing else.
        kind: Name of the file format in messages.
        lines_of: Function of the file and the needed columns, which returns a dict of stripped strings for
            each row. Its entry `line` is the place of the row, e.g. `line 7`.
    """
    file = Path(argument).expanduser()
    if not argument or not file.is_file():
        raise UserError(f"data.source: no such {kind} file. Received: {str(file)!r}")
    parts = parts_in_columns(config)
    columns = tuple(column for names in parts.values() for column in names)
    _check_no_answer(config)
    lines = lines_of(file, columns if config.weights is None else (*columns, config.weights))
    table = _columns_of(_checked_inputs(file, lines, parts))
    if not table:
        raise UserError(f"{file} has no rows. Received: an empty {kind} file")
    wanted = {theirs: ours for ours, theirs in config.split_names.items()}
    splits = {wanted.get(name, name): rows for name, rows in _rows_by_split(file, table).items()}
    if "group" in table:
        table["group"] = groups_of_list(table["group"])
        check_groups(file, {s: (table["group"][rows], table["line"][rows]) for s, rows in splits.items()})
    if config.task in ("multiclass", "binary"):
        _check_labels(file, table, splits)
    several = several_name(parts) if len(parts) > 1 else None
    whole = _rows(file, table, parts)
    tables = {split: _of_split(whole.take(rows), rows) for split, rows in splits.items()}
    if config.weights is not None:
        given, places = np.asarray(table[config.weights]), table["line"]
        tables = {
            s: replace(t, weights=checked_weights(given[splits[s]], str(file), places[splits[s]]))
            for s, t in tables.items()
        }
    return Table(tables, modality=several or ("columns" if config.columns else None))


def parts_in_columns(config: DataConfig) -> dict[str, tuple[str, ...]]:
    """Returns the columns of each part of a row. With `data.seconds`, the column of paths has sounds."""
    picture = config.picture or (None if config.text or config.columns else "path")
    parts = {
        "image" if config.seconds is None else "sound": () if picture is None else (picture,),
        "text": config.text_columns,
        "columns": tuple(config.columns),
    }
    return {part: names for part, names in parts.items() if names}


def _check_no_answer(config: DataConfig) -> None:
    wrong = [name for name in config.columns if name in (*OPTIONAL, config.weights)]
    if wrong:
        raise UserError(
            "data.columns are inputs of the network: leave out label, split, group and weights. "
            f"Received: data.columns with {wrong[0]}"
        )


def _columns_of(lines: Iterable[dict[str, str]]) -> dict[str, TextColumn]:
    """Returns the columns of a list. A column that a row lacks is empty there."""
    columns: dict[str, TextColumnBuilder] = {}
    for number, line in enumerate(lines):
        for name in line.keys() - columns.keys():
            columns[name] = TextColumnBuilder()
            for _ in range(number):
                columns[name].append("")
        for name, column in columns.items():
            column.append(line.get(name, ""))
    return {name: column.column() for name, column in columns.items()}


def _rows_by_split(file: Path, table: dict[str, TextColumn]) -> dict[str, np.ndarray]:
    """Returns the numbers of the rows of each split, in the order in which the file first names them."""
    if "split" not in table:
        return {"all": np.arange(len(table["line"]))}
    names, of_row = table["split"].distinct()
    splits = {name or "all": np.flatnonzero(of_row == number) for number, name in enumerate(names)}
    if "all" in splits and len(splits) > 1:
        raise UserError(
            f"{file}: the column 'split' is filled only in some rows. Received: {len(splits['all'])} empty"
        )
    return splits


def check_columns(file: Path, columns: Iterable[str], header: list[str]) -> None:
    """Raises `UserError` if a file lacks a column or has one twice.

    Args:
        file: File, for messages.
        columns: Columns that are needed.
        header: Names of the columns that the file has.
    """
    for column in columns:
        if column not in header:
            hint = nearest(column, header)
            raise UserError(
                f"{file} needs a column {column!r}.{hint} Received: columns {', '.join(header) or 'none'}"
            )
    if len(set(header)) < len(header):
        raise UserError(f"{file} has a column twice. Received: columns {', '.join(header)}")


def value_as_text(value: object) -> str:
    """Returns a value of a typed file as text in a CSV file: `a|b` for a list, an empty text for null."""
    if isinstance(value, list | tuple):
        return "|".join(value_as_text(part) for part in value)
    return "" if value is None else str(value).strip()


def shown(values: Iterable[object]) -> str:
    """Returns the values of a row for a message."""
    return ",".join("" if value is None else str(value) for value in values)[:80]


def _checked_inputs(
    file: Path, lines: Iterable[dict[str, str]], parts: dict[str, tuple[str, ...]]
) -> Iterator[dict[str, str]]:
    columns = [column for names in parts.values() for column in names]
    needs_all = len(parts) == 1 and "columns" not in parts
    for line in lines:
        empty = [column for column in columns if not line[column]]
        if empty and (needs_all or len(empty) == len(columns)):
            received = shown(value for name, value in line.items() if name != "line")
            named = " and ".join(filter(None, (", ".join(empty[:-1]), empty[-1])))
            named += " are" if len(empty) > 1 else " is"
            raise UserError(f"{file}, {line['line']}: the {named} empty. Received: {received}")
        for picture in (name for part in FILES for name in parts.get(part, ())):
            if "\0" in line[picture]:
                received = shown([line[picture]])
                raise UserError(
                    f"{file}, {line['line']}: the {picture} holds a zero byte. Received: {received}"
                )
        yield line


def _check_labels(file: Path, table: dict[str, TextColumn], splits: dict[str, np.ndarray]) -> None:
    for rows in splits.values() if "label" in table else ():
        missing = rows[table["label"][rows].lengths() == 0]
        if 0 < len(missing) < len(rows):
            raise UserError(
                f"{file}, {table['line'][missing[0]]}: the label is empty, but in other rows it is not. "
                f"Received: {len(missing)} rows without a label"
            )


def _rows(file: Path, table: dict[str, TextColumn], parts: dict[str, tuple[str, ...]]) -> Rows:
    """Returns all rows of a list, with the labels and groups as the file has them."""
    labels, groups = table.get("label"), table.get("group")
    if len(parts) == 1 and set(parts) <= set(FILES):
        paths = table[next(iter(parts.values()))[0]]
        return Rows(_files(file.parent, paths), labels, paths, groups)
    inputs = {}
    for part, names in parts.items():
        cells = [np.asarray(table[name]) for name in names]
        inputs[part] = np.stack(cells, axis=1) if part == "columns" or len(cells) > 1 else cells[0]
    for part in set(FILES) & set(inputs):
        paths = table[parts[part][0]]
        inputs[part] = np.asarray(_files(file.parent, paths))
        inputs[part][paths.lengths() == 0] = missing_file(part)
    rows = joined(inputs) if len(inputs) > 1 else next(iter(inputs.values()))
    return Rows(rows, labels, _row_names(table), groups)


def _of_split(rows: Rows, places: np.ndarray) -> Rows:
    """Returns the rows of a split without labels or groups if none is filled in.

    A row without a group is a group of its own.
    """
    labels, groups = rows.labels, rows.groups
    if labels is not None and not labels.lengths().any():
        labels = None
    if groups is not None:
        groups = completed_groups(groups, names_of_places(places))
    return replace(rows, labels=labels, groups=groups)


def _row_names(table: dict[str, TextColumn]) -> TextColumn:
    return TextColumn.of(line.replace(" ", ":") for line in table["line"])


_ODD_PATH = re.compile(r"^/|//|(^|/)\.(/|$)|/$")  # `Path` spells it otherwise


def _files(folder: Path, paths: TextColumn) -> TextColumn:
    """Returns the paths below a folder, which share the buffer of the given paths if they can."""
    if os.sep == "/" and not any(map(_ODD_PATH.search, paths.once()[0])):
        return paths.prefixed(str(folder / "x")[:-1])
    return TextColumn.of(folder / path if path else folder for path in paths)

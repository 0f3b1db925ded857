"""Images or texts with labels, listed in a CSV file."""

import csv
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.errors import UserError, nearest

_COLUMNS = ("path", "label", "split", "group")


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a CSV file with the columns `path` and `label`, optionally `split` and `group`.

    With `data.text`, the column of that name holds texts and replaces `path`.

    Paths are relative to the folder of the file. Labels are class names, or `a|b` for several labels
    (multilabel, regression). A split has no labels if there is no column `label`, or if it is empty in every
    row of the split.
    """
    file = Path(argument).expanduser()
    if not argument or not file.is_file():
        raise UserError(f"data.source: no such CSV file. Received: {str(file)!r}")
    column = config.text or "path"
    lines = _lines(file, column)
    splits: dict[str, list[dict[str, str]]] = {}
    wanted = {theirs: ours for ours, theirs in config.split_names.items()}
    for line in lines:
        name = line.get("split") or "all"
        splits.setdefault(wanted.get(name, name), []).append(line)
    if "all" in splits and len(splits) > 1:
        raise UserError(
            f"{file}: the column 'split' is filled in some rows only. Received: {len(splits['all'])} empty"
        )
    _check_groups(file, splits)
    if config.task in ("multiclass", "binary"):
        _check_labels(file, splits)
    return Table({split: _rows(file, rows, config.text) for split, rows in splits.items()})


def _lines(file: Path, column: str) -> list[dict[str, str]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            _check_header(file, header, column)
            lines = [_line(file, reader.line_num, row, header, column) for row in reader]
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text. Received: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise UserError(f"{file} is not a readable CSV file. Received: {error}") from None
    if not lines:
        raise UserError(f"{file} has no rows. Received: header {','.join(header)}")
    return lines


def _check_header(file: Path, header: list[str], column: str) -> None:
    if column not in header:
        hint = nearest(column, header)
        raise UserError(
            f"{file} needs a column {column!r}.{hint} Received: columns {', '.join(header) or 'none'}"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{file} has a column twice. Received: columns {', '.join(header)}")


def _line(file: Path, number: int, row: dict, header: list[str], column: str) -> dict[str, str]:
    if None in row or None in row.values():
        raise UserError(f"{file}, line {number}: expected {len(header)} fields. Received: {_shown(row)}")
    line = {name: row[name].strip() for name in header if name in (*_COLUMNS, column)}
    if not line[column]:
        raise UserError(f"{file}, line {number}: the {column} is empty. Received: {_shown(row)}")
    if column == "path" and "\0" in line["path"]:
        raise UserError(f"{file}, line {number}: the path holds a zero byte. Received: {_shown(row)}")
    return {**line, "line": str(number)}


def _shown(row: dict) -> str:
    values = [v for value in row.values() for v in (value if isinstance(value, list) else [value])]
    return ",".join("" if v is None else v for v in values)[:80]


def _check_labels(file: Path, splits: dict[str, list[dict[str, str]]]) -> None:
    for lines in splits.values():
        missing = [line for line in lines if not line.get("label")]
        if 0 < len(missing) < len(lines):
            raise UserError(
                f"{file}, line {missing[0]['line']}: the label is empty, in other rows it is not. "
                f"Received: {len(missing)} rows without a label"
            )


def _check_groups(file: Path, splits: dict[str, list[dict[str, str]]]) -> None:
    home: dict[str, str] = {}
    for split, lines in splits.items():
        for line in lines:
            group = line.get("group")
            if group and home.setdefault(group, split) != split:
                raise UserError(
                    f"{file}, line {line['line']}: a group may not stand in two splits. "
                    f"Received: group {group!r} in {home[group]} and {split}"
                )


def _rows(file: Path, lines: list[dict[str, str]], text: str | None) -> Rows:
    labels = np.array([line.get("label", "") for line in lines], object)
    if text is not None:
        ids = np.array([f"line:{line['line']}" for line in lines], object)
        texts = np.array([line[text] for line in lines], object)
        return Rows(texts, labels if any(labels) else None, ids, _groups(lines))
    ids = np.array([line["path"] for line in lines], object)
    return Rows(
        np.array([str(file.parent / path) for path in ids], object),
        labels if any(labels) else None,
        ids,
        _groups(lines),
    )


def _groups(lines: list[dict[str, str]]) -> np.ndarray | None:
    if not any(line.get("group") for line in lines):
        return None
    # A row without a group is a group of its own.
    return np.array([line["group"] or f"line:{line['line']}" for line in lines], object)


SOURCE = Source(
    "csv",
    "csv:FILE",
    "images (column path) or texts (data.text) with a column label; optional split and group",
    load,
)

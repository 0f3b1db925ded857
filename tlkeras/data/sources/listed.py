"""Reads lists of images, texts or both, with labels, splits and groups, in any file format."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.input_shapes import columns as joined
from tlkeras.data.modalities import ImageText
from tlkeras.data.modalities.image_text import missing_picture
from tlkeras.data.rows import Rows, checked_weights
from tlkeras.data.sources.base import Table
from tlkeras.errors import UserError, nearest

OPTIONAL = ("label", "split", "group")
FORM = "images or sounds (column path), texts (data.text) or both (data.picture), with a column label"


def listed(
    argument: str, config: DataConfig, kind: str, lines_of: Callable[[Path, tuple[str, ...]], Iterable[dict]]
) -> Table:
    """Reads a list of rows: a column of paths, columns of texts, or both; optionally label, split and group.

    In rows of both, either the picture or the text may be missing.

    Paths are relative to the folder of the file. Labels are class names, or `a|b` for several labels
    (multilabel, regression). A split has no labels if there is no column `label`, or if it is empty in every
    row of the split.

    Args:
        argument: Path of the file.
        config: Config of the domain. `text` names the columns of texts, and `picture` that of the paths. The
            latter is `path` by default if there are no texts.
        kind: Name of the file format in messages.
        lines_of: Function of the file and the needed columns, which returns a dict of stripped strings for
            each row. Its entry `line` is the place of the row, e.g. `line 7`.
    """
    file = Path(argument).expanduser()
    if not argument or not file.is_file():
        raise UserError(f"data.source: no such {kind} file. Received: {str(file)!r}")
    picture = config.picture or (None if config.text else "path")
    columns = (picture,) * bool(picture) + config.text_columns
    lines = list(lines_of(file, columns + (config.weights,) * (config.weights is not None)))
    if not lines:
        raise UserError(f"{file} has no rows. Received: an empty {kind} file")
    _check_inputs(file, lines, columns, picture)
    splits: dict[str, list[dict[str, str]]] = {}
    wanted = {theirs: ours for ours, theirs in config.split_names.items()}
    for line in lines:
        name = line.get("split") or "all"
        splits.setdefault(wanted.get(name, name), []).append(line)
    if "all" in splits and len(splits) > 1:
        raise UserError(
            f"{file}: the column 'split' is filled only in some rows. Received: {len(splits['all'])} empty"
        )
    _check_groups(file, splits)
    if config.task in ("multiclass", "binary"):
        _check_labels(file, splits)
    modality = ImageText.name if picture and config.text else None
    tables = {split: _rows(file, lines, config, picture) for split, lines in splits.items()}
    if config.weights is not None:
        tables = {s: replace(rows, weights=_weights(file, splits[s], config)) for s, rows in tables.items()}
    return Table(tables, modality=modality)


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


def _check_inputs(
    file: Path, lines: list[dict[str, str]], columns: tuple[str, ...], picture: str | None
) -> None:
    beside = picture is not None and len(columns) > 1
    for line in lines:
        empty = [column for column in columns if not line[column]]
        if empty and not (beside and len(empty) < len(columns)):
            received = shown(value for name, value in line.items() if name != "line")
            named = " and ".join(empty) + (" are" if len(empty) > 1 else " is")
            raise UserError(f"{file}, {line['line']}: the {named} empty. Received: {received}")
        if picture is not None and "\0" in line[picture]:
            raise UserError(
                f"{file}, {line['line']}: the {picture} holds a zero byte. Received: {shown([line[picture]])}"
            )


def _check_labels(file: Path, splits: dict[str, list[dict[str, str]]]) -> None:
    for lines in splits.values():
        missing = [line for line in lines if not line.get("label")]
        if 0 < len(missing) < len(lines):
            raise UserError(
                f"{file}, {missing[0]['line']}: the label is empty, but in other rows it is not. "
                f"Received: {len(missing)} rows without a label"
            )


def _check_groups(file: Path, splits: dict[str, list[dict[str, str]]]) -> None:
    home: dict[str, str] = {}
    for split, lines in splits.items():
        for line in lines:
            group = line.get("group")
            if group and home.setdefault(group, split) != split:
                raise UserError(
                    f"{file}, {line['line']}: a group must not be in two splits. Received: group "
                    f"{group!r} in {home[group]} and {split}"
                )


def _rows(file: Path, lines: list[dict[str, str]], config: DataConfig, picture: str | None) -> Rows:
    labels = np.array([line.get("label", "") for line in lines], object)
    labels, groups = labels if any(labels) else None, _groups(lines)
    ids = np.array([line["line"].replace(" ", ":") for line in lines], object)
    paths = np.array([line[picture] for line in lines], object) if picture else None
    files = None if paths is None else np.array([str(file.parent / path) for path in paths], object)
    if config.text is None:
        return Rows(files, labels, paths, groups)
    texts = np.array([[line[column] for column in config.text_columns] for line in lines], object)
    texts = texts if texts.shape[1] > 1 else texts[:, 0]
    if files is None:
        return Rows(texts, labels, ids, groups)
    files[paths == ""] = missing_picture()
    return Rows(joined({"image": files, "text": texts}), labels, ids, groups)


def _weights(file: Path, lines: list[dict[str, str]], config: DataConfig) -> np.ndarray:
    places = [line["line"] for line in lines]
    return checked_weights([line[config.weights] for line in lines], str(file), places)


def _groups(lines: list[dict[str, str]]) -> np.ndarray | None:
    if not any(line.get("group") for line in lines):
        return None
    # A row without a group is a group of its own.
    return np.array([line.get("group") or line["line"].replace(" ", ":") for line in lines], object)

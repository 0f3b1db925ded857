"""Rows of named inputs from Python: pictures, texts and columns of a table, in a dict or a DataFrame."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.config.columns import ColumnConfig
from tlkeras.config.data import DataConfig
from tlkeras.data.array_form import ArrayForm
from tlkeras.data.file_kinds import IMAGES, SOUNDS
from tlkeras.data.frames import is_frame, with_text_names
from tlkeras.data.input_shapes import Shape
from tlkeras.data.input_shapes import columns as joined
from tlkeras.data.modalities.base import Modality
from tlkeras.data.modalities.columns import cells_of, is_absent, is_missing
from tlkeras.data.modalities.several import FILES, files_of, parts_of, several_name, texts_or_missing
from tlkeras.errors import UserError

TEXT, COLUMNS = "text", "columns"


def is_named(x: Any) -> bool:
    """Whether inputs are a dict or a DataFrame of named inputs.

    Args:
        x: Inputs of a split.
    """
    return isinstance(x, Mapping) or is_frame(x)


def settings_of(x: Any, data: DataConfig) -> dict[str, Any]:
    """Returns the settings of `data` that name the parts of rows, as far as they are not set.

    The input `image` holds pictures, with `data.seconds` the input `sound` sounds, and `text` texts. All
    others are columns of a table, which may also be together in `columns`, a dict or a DataFrame itself.

    Args:
        x: Named inputs.
        data: Config of the data.

    Raises:
        UserError: The sounds or pictures of `x` would become columns, because of `data.seconds` or
            `data.picture`.
    """
    named, found = _flat(x), {}
    names = list(named)
    if data.picture is None and _of_files(data) in names:
        found["picture"] = _of_files(data)
    if data.text is None and TEXT in names:
        found["text"] = TEXT
    if not data.columns:
        others = {found.get("picture", data.picture), found.get("text"), *data.text_columns}
        found["columns"] = {name: ColumnConfig() for name in names if name not in others}
        _check_no_files({name: named[name] for name in found["columns"] if name in FILES}, data)
    return {name: value for name, value in found.items() if value}


def _check_no_files(columns: Mapping[str, Any], data: DataConfig) -> None:
    """Raises `UserError` if the column `sound` or `image` holds sounds or pictures instead of cells."""
    for name, values in columns.items():
        one: Any = next((one for one in values if not is_absent(one)), None)
        kind = SOUNDS if name == "sound" else IMAGES
        if np.ndim(one) or isinstance(one, bytes) or str(one).lower().endswith(kind.suffixes):
            wanted = "which need data.seconds, their duration in seconds, such as data.seconds=2"
            received = f"data.seconds={'none' if data.seconds is None else f'{data.seconds:g}'}"
            if data.picture is not None:
                wanted = "but data.picture names another input of files, and rows have only one"
                received = f"data.picture={data.picture}"
            elif name == "image":
                wanted = "but data.seconds makes the files of rows sounds, so that rows have no pictures"
            raise UserError(f"The input {name!r} holds {kind.plural}, {wanted}. Received: {received}")


def in_parts(x: Any, data: DataConfig, modality: Modality) -> Any:
    """Returns named inputs in the form that a modality takes: by part (`image`, `sound`, `text`, `columns`)
    if rows have several, else the only part. Anything else is returned unchanged.

    Args:
        x: Named inputs as a user has them. Further columns of a DataFrame are left out.
        data: Config that names the parts.
        modality: Modality of the rows.
    """
    if not is_named(x) or modality.name == COLUMNS:
        return _flat(x) if is_named(x) else x
    if len(data.text_columns) > 1 and (is_frame(x) or set(data.text_columns) & set(_flat(x))):
        return _pairs(_flat(x), data.text_columns, "x")
    found = _by_part(x, data)
    if is_frame(x) and not modality.made_of and modality.name not in found:
        wanted = data.text if modality.name == TEXT else data.picture
        raise UserError(
            f"x lacks the input {wanted!r} of the training data. Received: {', '.join(_flat(x)) or 'nothing'}"
        )
    return found if modality.made_of else found.get(modality.name, x)


def inputs_like_training(
    x: Any, data: DataConfig, modality: Modality, form: ArrayForm | None, shape: Shape
) -> np.ndarray:
    """Returns raw inputs in the form that `Rows.inputs` may hold. Inputs with names may be paths.

    Args:
        x: Inputs `(n, ...)` as a user has them, with names or without.
        data: Config that names the parts.
        modality: Modality of the rows.
        form: Form of the training arrays, or None.
        shape: Shape of one row.

    Raises:
        UserError: The inputs do not fit those of the training.
    """
    items = in_parts(x, data, modality)
    if not is_named(x) or modality.name not in FILES or is_named(items):
        return modality.inputs_like_training(items, form, shape)
    numbers = isinstance(items, np.ndarray) and items.dtype != object
    missing = [] if numbers else [row for row, one in enumerate(items) if is_absent(one)]
    if missing:
        raise UserError(f"x, row {missing[0]}: {modality.name} is empty. Received: {len(missing)} such rows")
    return files_of(items, modality.name, lambda values: modality.inputs_like_training(values, form, shape))


def _pairs(named: Mapping[str, Any], names: Sequence[str], where: str) -> np.ndarray:
    """Returns pairs of texts, object `(n, 2)`. Raises `UserError` where one is missing."""
    if missing := [name for name in names if name not in named]:
        raise UserError(f"{where} lacks the input {missing[0]!r}. Received: {', '.join(named) or 'nothing'}")
    given = [texts_or_missing(named[name]) for name in names]
    if len(given[0]) != len(given[1]):
        raise UserError(
            f"{where}: both texts of each pair are needed. Received: {len(given[0])} and {len(given[1])}"
        )
    pairs = np.array(list(zip(*given, strict=True)), object)
    rows = np.flatnonzero((pairs == "").any(axis=1))
    if len(rows):
        raise UserError(
            f"{where}, row {rows[0]}: both texts of each pair are needed. Received: {len(rows)} rows without"
        )
    return pairs


def _of_files(data: DataConfig) -> str:
    """Returns the part that `data.picture` names."""
    return "image" if data.seconds is None else "sound"


def _by_part(x: Any, data: DataConfig) -> dict[str, Any]:
    part = {data.picture: _of_files(data), data.text: TEXT} | dict.fromkeys(data.columns, COLUMNS)
    found: dict[str, Any] = {}
    for name, values in _flat(x).items():
        if part.get(name) == COLUMNS:
            found.setdefault(COLUMNS, {})[name] = values
        elif name in part or not is_frame(x):
            found[part.get(name, name)] = values
    return found


def rows_of_parts(
    x: Any, data: DataConfig, where: str, convert: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, str | None]:
    """Returns named inputs in the form that `Rows.inputs` may hold, and the name of their modality.

    The name is None for pictures or texts alone, which are rows like those that have no names.

    Args:
        x: Named inputs `(n, ...)`: pictures as pixels, sounds as samples, or both as paths or the contents of
            files; texts; and columns. In rows of several parts, None is a missing picture, sound or text, and
            columns may have missing values.
        data: Config that names the parts.
        where: Name of the inputs in messages.
        convert: Function that converts an array of pixels or of samples.

    Raises:
        UserError: An input is missing, or the inputs do not fit each other.
    """
    named = _flat(x)
    pictures = [] if data.picture is None else [data.picture]
    needed = [*pictures, *data.text_columns, *data.columns]
    if missing := [name for name in needed if name not in named]:
        raise UserError(
            f"{where} lacks the input {missing[0]!r}, which data.picture, data.text or data.columns names. "
            f"Received: {', '.join(map(str, named)) or 'nothing'}"
        )
    if len(data.text_columns) > 1:
        return _pairs(named, data.text_columns, where), None
    by_part = _by_part({name: named[name] for name in needed}, data)
    if not by_part:
        raise UserError(f"{where} has no inputs. Received: an empty dict")
    found, gone = {}, []
    for name, values in parts_of(by_part, list(by_part)).items():
        if name == COLUMNS:
            found[name] = cells_of(values, list(data.columns))
            gone.append([all(map(is_missing, row)) for row in found[name]])
        else:
            items = [None if is_absent(one) else one for one in values]
            gone.append([one is None for one in items])
            if name == TEXT:
                found[name] = np.array(texts_or_missing(items), object)
            else:
                found[name] = files_of(values, name, convert)
    _check_filled(np.array(gone), list(found), where)
    if len(found) > 1:
        return joined(found), several_name(found)
    return next(iter(found.values())), COLUMNS if COLUMNS in found else None


def _flat(x: Any) -> dict[str, Any]:
    """Returns named inputs in which those of `columns` stand beside the others."""
    x = with_text_names(x) if is_frame(x) else x
    found: dict[str, Any] = {}
    for name in x:
        if name == COLUMNS and is_named(x[name]):
            found |= {str(inner): x[name][inner] for inner in x[name]}
        else:
            found[str(name)] = x[name]
    return found


def _check_filled(gone: np.ndarray, parts: list[str], where: str) -> None:
    """Raises `UserError` if a row lacks all its parts. `gone` is bool `(parts, n)`."""
    rows = np.flatnonzero(gone.all(axis=0))
    if len(rows):
        raise UserError(
            f"{where}, row {rows[0]}: {' and '.join(parts)} {'are' if len(parts) > 1 else 'is'} empty. "
            f"Received: {len(rows)} such rows"
        )

"""DataFrames as arrays: their columns of pictures, texts, numbers, categories, labels, splits and weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.errors import UserError, unknown

FILES = ("path", "file", "filename", "image", "picture", "photo", "sound", "audio")
TEXTS = ("text", "sentence", "review")
LABELS = ("label", "class", "target", "y")
OTHERS = ("split", "group", "id", "index")  # columns of other tables that are no inputs
_WEIGHTS = "sample_weights of fine_tune"


def is_frame(x: Any) -> bool:
    """Whether an object is a DataFrame of pandas, or works like one.

    Args:
        x: Data from Python.
    """
    return hasattr(x, "iloc") and hasattr(x, "columns")


def arrays_of_frame(
    frame: Any, labels: Any = None, weights: Any = None, named: Mapping[str, Any] | None = None
) -> tuple[dict[str, tuple], dict[str, Any]]:
    """Returns the rows of a DataFrame by split, `(x, y)` or `(x, y, weights)`, and settings that name them.

    `x` is a list for paths or texts alone, else a dict from the name of a column to its values. The inputs
    are those that `named` names. Otherwise they are a column of paths (`path`, `file`, `filename`, `image`,
    `picture`, `photo`, `sound`, `audio`), a column of texts (`text`, `sentence`, `review`), or both; and if
    there is neither, all columns but labels, splits and weights are numbers and categories.

    Args:
        frame: The DataFrame.
        labels: Labels `(n,)`. None takes the column `label`, `class`, `target` or `y`.
        weights: Weights of the rows `(n,)`, the name of their column, or None.
        named: The settings `picture`, `text` and `columns` of `data`, as far as they are given.

    Raises:
        UserError: A column is missing, or several could be meant.
    """
    names = [str(name) for name in frame.columns]
    frame = frame.set_axis(names, axis=1)
    y = _one_of(names, LABELS, "labels") if labels is None else "labels of fine_tune"
    if labels is not None:
        frame = frame.assign(**{y: _as_long(labels, frame, "labels")})
    chosen = [y]
    if isinstance(weights, str):
        if weights not in names:
            raise unknown("column of sample_weights", weights, names)
        chosen.append(weights)
    elif weights is not None:
        frame = frame.assign(**{_WEIGHTS: _as_long(weights, frame, "sample_weights")})
        chosen.append(_WEIGHTS)
    settings = _settings(frame, names, {*chosen, *(n for n in names if n.lower() in OTHERS)}, named or {})
    parts = dict(list(frame.groupby("split"))) if "split" in names else {"all": frame}
    splits = {
        str(split): (_inputs(rows, settings), *(rows[name].to_numpy() for name in chosen))
        for split, rows in parts.items()
    }
    single = list(settings) == ["picture"]  # paths alone are data.source's own rows
    return splits, {} if single else settings


def _settings(frame: Any, names: list[str], taken: set[str], named: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings `picture`, `text` and `columns` of the inputs of a DataFrame."""
    given = {name: value for name, value in named.items() if value}
    for name in (name for value in given.values() for name in _names_in(value)):
        if name not in names:
            raise unknown("column of the DataFrame", name, names)
    free = [name for name in names if name not in taken]
    if given:
        return given | ({"columns": _kinds(frame, given["columns"])} if "columns" in given else {})
    found: dict[str, Any] = {}
    for field, known in (("picture", FILES), ("text", TEXTS)):
        fitting = [name for name in free if name.lower() in known]
        if len(fitting) > 1:
            raise UserError(
                f"A DataFrame needs one column of {field}s: name it by data__{field}. "
                f"Received: columns {', '.join(fitting)}"
            )
        if fitting:
            found[field] = fitting[0]
    others = [name for name in free if name not in found.values()]
    if found and others:
        messages.note(
            f"The columns {', '.join(others)} of the DataFrame are not used. To use some of them, name all "
            f"inputs: data__columns={others}, {', '.join(f'data__{f}={n!r}' for f, n in found.items())}"
        )
    if not found and not others:
        raise UserError(
            f"A DataFrame needs columns of inputs. Received: columns {', '.join(names) or 'none'}"
        )
    return found or {"columns": _kinds(frame, others)}


def _kinds(frame: Any, columns: Any) -> dict[str, Any]:
    """Returns columns by name with the kinds that their dtypes say."""
    if isinstance(columns, Mapping):
        return dict(columns)
    categories = ("category", "bool", "boolean")
    return {n: {"kind": "category"} if str(frame[n].dtype) in categories else {} for n in _names_in(columns)}


def _names_in(setting: Any) -> list[str]:
    """Returns the names in a setting: a name, names with commas in between, a list or a mapping."""
    return [name.strip() for name in setting.split(",")] if isinstance(setting, str) else list(setting)


def _inputs(rows: Any, settings: Mapping[str, Any]) -> Any:
    """Returns the inputs of some rows: a list for paths or texts alone, else a dict of columns."""
    texts = _names_in(settings.get("text") or ())
    chosen = [*([settings["picture"]] if "picture" in settings else []), *texts, *settings.get("columns", {})]
    if len(chosen) == 1 and "columns" not in settings:
        return rows[chosen[0]].tolist()
    return {name: rows[name].tolist() for name in chosen}


def _as_long(values: Any, frame: Any, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape[:1] != (len(frame),) or values.ndim != 1:
        received = len(values) if values.ndim == 1 else f"shape {values.shape}"
        raise UserError(f"{what} needs {len(frame)} values, one for each row. Received: {received}")
    return values


def _one_of(columns: list[str], known: tuple[str, ...], what: str) -> str:
    found = [name for name in columns if name.lower() in known]
    if len(found) != 1:
        raise UserError(
            f"A DataFrame needs one column of {what}: {', '.join(known)}. "
            f"Received: columns {', '.join(columns) or 'none'}"
        )
    return found[0]

"""DataFrames as arrays: their columns of pictures, texts, numbers, categories, labels, splits and weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.data.array_form import as_array
from tlkeras.data.groups import column_of_groups, completed_groups, names_of_places
from tlkeras.data.modalities.columns import is_absent
from tlkeras.errors import UserError, unknown

FILES = ("path", "file", "filename", "image", "picture", "photo", "sound", "audio")
TEXTS = ("text", "sentence", "review")
LABELS = ("label", "class", "target", "y")
OTHERS = ("split", "group", "id", "index")  # columns of other tables that are no inputs


def is_frame(x: Any) -> bool:
    """Whether an object is a DataFrame of pandas, or works like one.

    Args:
        x: Data from Python.
    """
    return hasattr(x, "iloc") and hasattr(x, "columns")


def with_text_names(frame: Any) -> Any:
    """Returns a DataFrame whose columns have texts as names. Raises `UserError` if two have the same name.

    Args:
        frame: The DataFrame.
    """
    names = [str(name) for name in frame.columns]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if twice:
        raise UserError(f"A DataFrame has a column twice: rename one. Received: {', '.join(names)}")
    return frame.set_axis(names, axis=1)


def arrays_of_frame(
    frame: Any,
    labels: Any = None,
    weights: Any = None,
    named: Mapping[str, Any] | None = None,
    one_split: bool = False,
) -> tuple[dict[str, tuple], dict[str, Any]]:
    """Returns the rows of a DataFrame by split, `(x, y)`, `(x, y, weights)` or `(x, y, weights, groups)`, and
    settings that name them.

    `x` is a list for paths or texts alone, else a dict from the name of a column to its values. The inputs
    are those that `named` names. Otherwise they are a column of paths (`path`, `file`, `filename`, `image`,
    `picture`, `photo`, `sound`, `audio`), a column of texts (`text`, `sentence`, `review`), or both; and if
    there is neither, all columns but labels, splits, groups and weights are numbers and categories. The rows
    of one value of the column `group` stay in the same split.

    Args:
        frame: The DataFrame.
        labels: Labels `(n,)`. None takes the column `label`, `class`, `target` or `y`.
        weights: Weights of the rows `(n,)`, the name of their column, or None.
        named: The settings `picture`, `text` and `columns` of `data`, as far as they are given.
        one_split: Whether all rows are of one split, so that a column `split` is not read.

    Raises:
        UserError: A column is missing, several could be meant, an input is the answer, or only some rows have
            a split.
    """
    frame = with_text_names(frame)
    split, group = (_one_or_none(frame, name) for name in ("split", "group"))
    y, label = _labels(frame, labels)
    weights, weight = _weights(frame, weights)
    answers = [name for name in (split, group, label, weight) if name is not None]
    settings = _given(frame, answers, named or {}) or _found(frame, answers, None if labels is None else y)
    groups: Any = None if group is None else frame[group].to_numpy()
    if groups is not None and not one_split:  # before the splits, because the place of a row is that in all
        groups = completed_groups(column_of_groups(groups), names_of_places(range(len(frame))))
    beside: list[Any] = [y] if weights is None and groups is None else [y, weights]
    beside += [] if groups is None else [groups]
    splits = {
        name: (
            _inputs(frame.iloc[rows], settings),
            *(None if part is None else part[rows] for part in beside),
        )
        for name, rows in _rows_by_split(frame, None if one_split else split).items()
    }
    return splits, settings


def _labels(frame: Any, given: Any) -> tuple[np.ndarray, str | None]:
    """Returns the labels of the rows, and the name of their column if they are one of the DataFrame."""
    if given is None:
        name = _one_of(list(frame.columns), LABELS, "labels")
        return frame[name].to_numpy(), name
    y, name = _as_long(given, frame, "labels"), str(getattr(given, "name", None))
    return y, name if name in frame.columns and _same(frame[name].to_numpy(), y) else None


def _weights(frame: Any, given: Any) -> tuple[np.ndarray | None, str | None]:
    """Returns the weights of the rows, and the name of their column if they are one of the DataFrame."""
    if given is None:
        return None, None
    if not isinstance(given, str):
        return _as_long(given, frame, "sample_weights"), None
    if given not in frame.columns:
        raise unknown("column of sample_weights", given, list(frame.columns))
    return frame[given].to_numpy(), given


def _rows_by_split(frame: Any, column: str | None) -> dict[str, np.ndarray]:
    """Returns the places of the rows of each split, in the order in which the column first names them."""
    if column is None:
        return {"all": np.arange(len(frame))}
    values = ["" if is_absent(one) else str(one).strip() for one in frame[column]]
    if missing := values.count(""):
        if missing == len(values):
            return {"all": np.arange(len(frame))}
        raise UserError(
            f"The column {column!r} of the DataFrame is filled only in some rows. Received: {missing} empty"
        )
    return {split: np.flatnonzero([one == split for one in values]) for split in dict.fromkeys(values)}


def _given(frame: Any, answers: list[str], named: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that name the inputs of a DataFrame, or nothing if none is given."""
    given = {name: named[name] for name in ("picture", "text", "columns") if named.get(name)}
    for name in (name for value in given.values() for name in _names_in(value)):
        if name not in frame.columns:
            raise unknown("column of the DataFrame", name, list(frame.columns))
        if name in answers or name.lower() in ("label", "split", "group"):
            raise UserError(
                "The inputs of a DataFrame are no answers: leave out label, split, group and weights. "
                f"Received: {name!r} among its inputs"
            )
    return given | ({"columns": _kinds(frame, given["columns"])} if "columns" in given else {})


def _found(frame: Any, answers: list[str], labels: np.ndarray | None) -> dict[str, Any]:
    """Returns settings for the columns that are inputs by their names, or else for all but the answers.

    A column with the values of separate labels is also no input.
    """
    names = list(frame.columns)
    free = [name for name in names if name not in answers and name.lower() not in OTHERS]
    by_name = {name for name in free if name.lower() in LABELS}
    by_value = {n for n in free if labels is not None and _same(frame[n].to_numpy(), labels)}
    left = [name for name in free if name in by_name ^ by_value]  # what is both is beyond doubt
    free = [name for name in free if name not in by_name | by_value]
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
    if left:
        messages.note(
            f"The columns {', '.join(left)} of the DataFrame are no inputs, because their names or values "
            "are those of labels. To use them nevertheless, name all inputs by data__columns."
        )
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


def _same(values: np.ndarray, labels: np.ndarray) -> bool:
    """Whether the values of a column are the labels `(n,)` themselves."""
    if values.dtype.kind in "biuf" and labels.dtype.kind in "biuf":
        return bool(np.array_equal(values, labels))
    return list(map(str, values)) == list(map(str, labels))


def _kinds(frame: Any, columns: Any) -> dict[str, Any]:
    """Returns columns by name with the kinds that their dtypes say."""
    if isinstance(columns, Mapping):
        return dict(columns)
    categories = ("category", "bool", "boolean")
    return {n: {"kind": "category"} if str(frame[n].dtype) in categories else {} for n in _names_in(columns)}


def _names_in(setting: Any) -> list[str]:
    """Returns the names in a setting: a name, names with commas in between, a list or a mapping."""
    names = setting.split(",") if isinstance(setting, str) else setting
    return [str(name).strip() for name in names]


def _inputs(rows: Any, settings: Mapping[str, Any]) -> Any:
    """Returns the inputs of some rows: a list for paths or texts alone, else a dict of columns."""
    texts = _names_in(settings.get("text") or ())
    chosen = [*([settings["picture"]] if "picture" in settings else []), *texts, *settings.get("columns", {})]
    if len(chosen) == 1 and "columns" not in settings:
        return rows[chosen[0]].tolist()
    return {name: rows[name].tolist() for name in chosen}


def _as_long(values: Any, frame: Any, what: str) -> np.ndarray:
    values = as_array(values)
    if values.shape[:1] != (len(frame),) or values.ndim != 1:
        received = len(values) if values.ndim == 1 else f"shape {values.shape}"
        raise UserError(f"{what} needs {len(frame)} values, one for each row. Received: {received}")
    return values


def _one_or_none(frame: Any, what: str) -> str | None:
    """Returns the column of this name, in capital letters or not."""
    found = [name for name in frame.columns if name.lower() == what]
    if len(found) > 1:
        raise UserError(f"A DataFrame needs one column {what!r}. Received: {', '.join(found)}")
    return found[0] if found else None


def _one_of(columns: list[str], known: tuple[str, ...], what: str) -> str:
    found = [name for name in columns if name.lower() in known]
    if len(found) != 1:
        raise UserError(
            f"A DataFrame needs one column of {what}: {', '.join(known)}. "
            f"Received: columns {', '.join(columns) or 'none'}"
        )
    return found[0]

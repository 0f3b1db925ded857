"""Arrays in a NumPy file, or passed from Python."""

import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.array_form import as_array, inputs_of_source, training_range
from tlkeras.data.array_parts import is_named, rows_of_parts
from tlkeras.data.groups import check_groups, column_of_groups, completed_groups, names_of_places
from tlkeras.data.input_shapes import by_column
from tlkeras.data.modalities.columns import is_absent
from tlkeras.data.rows import Rows, checked_weights, row_ids
from tlkeras.data.sources.base import Source, Table, check_splits
from tlkeras.data.text_column import TextColumn
from tlkeras.errors import UserError

_TRAINING = ("train", "all")


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads `x_train, y_train`, optionally `x_val, y_val` and `x_test, y_test`, or only `x, y`.

    Rows of several parts, or with columns, have an array for each input that `data.picture`, `data.text` and
    `data.columns` name in place of `x`: `photo_train`, `age_train`, ..., or only `photo`, `age`.

    `x` holds images `(n, h, w)` or `(n, h, w, c)`, vectors `(n, d)`, or with `data.seconds` sounds
    `(n, samples)` at `data.sample_rate`. Strings are texts `(n,)` or pairs of texts `(n, 2)` if the config
    has a tokenizer, else paths. `y` is optional. An optional array `class_names` has the names of the
    classes. Pickled objects are refused.
    """
    file = Path(argument).expanduser()
    if not argument or not file.is_file():
        raise UserError(f"data.source: no such file. Received: {str(file)!r}")
    try:
        with np.load(file, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (ValueError, OSError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise UserError(f"{file} is not a readable .npz file of plain arrays. Received: {error}") from None
    pairs = _splits(arrays, config, file)
    names = tuple(str(n) for n in arrays["class_names"]) if "class_names" in arrays else None
    return table_of_arrays(pairs, str(file), names, config)


def _splits(arrays: dict[str, np.ndarray], config: DataConfig, file: Path) -> dict[str, tuple]:
    """Returns the inputs and labels of each split. Inputs with names are a dict."""
    named = _input_names(config)

    def inputs(ending: str) -> Any:
        if not named:
            return arrays.get(f"x{ending}")
        return {name: arrays[name + ending] for name in named if name + ending in arrays} or None

    pairs = {}
    for ours in ("train", "val", "test"):
        theirs = config.split_names.get(ours, ours)
        if (x := inputs(f"_{theirs}")) is not None:
            pairs[ours] = (x, arrays.get(f"y_{theirs}"))
        elif ours in config.split_names:
            raise UserError(
                f"data.split_names.{ours}: {file} has no {(named or ['x'])[0]}_{theirs}. "
                f"Received: {', '.join(arrays)}"
            )
    if not pairs and (x := inputs("")) is not None:
        pairs["all"] = (x, arrays.get("y"))
    if not pairs or ("train" not in pairs and "all" not in pairs):
        first = (named or ["x"])[0]
        more = "" if named else "; data.picture, data.text and data.columns name other inputs"
        raise UserError(
            f"{file} needs the arrays {first}_train (or {first}) and y{more}. "
            f"Received: {', '.join(arrays) or 'none'}"
        )
    return pairs


def _input_names(config: DataConfig) -> list[str]:
    """Returns the names of the inputs of rows of several parts or with columns, else an empty list."""
    pictures = [] if config.picture is None else [config.picture]
    return [*pictures, *config.text_columns, *config.columns] if pictures or config.columns else []


def table_of_arrays(
    arrays: Mapping[str, object],
    where: str = "data",
    class_names: tuple[str, ...] | None = None,
    config: DataConfig | None = None,
) -> Table:
    """Makes a table of arrays `{"train": (x, y), "test": (x, y)}`.

    Args:
        arrays: Arrays by split: `(x, y)`, `(x, y, weights)`, `(x, y, weights, groups)`, `(x, None)` or `x`.
            `x` holds images `(n, h, w[, c])`, vectors `(n, d)`, a list of file paths or of texts, or is a
            dict of named inputs; see `tlkeras.data.array_parts`. `y` is `(n,)` or `(n, k)`. `weights` is
            `(n,)` or None. `groups` are texts `(n,)`, empty where a row has none; the rows of a group stay
            in one split.
        where: Name of the arrays in messages.
        class_names: Class names in the order of integer labels.
        config: Config of the domain, whose `seconds` makes arrays of numbers sounds, and which names the
            inputs of a dict; or None.
    """
    require_splits(arrays)
    check_splits(arrays, where)
    pairs = {split: _four(given, f"{where} ({split})") for split, given in arrays.items()}
    (white, darkest), splits, modality = _training_range(pairs, where, config), {}, None
    for split, (x, y, weights, groups) in pairs.items():
        label = f"{where} ({split})"
        ranged = (None, None) if split in _TRAINING else (white, darkest)
        inputs, modality = _inputs(x, label, ranged, config)
        labels = None if y is None else _labels(_as_array(y, "y", label), label)
        if labels is not None and labels.shape[:1] != (len(inputs),):
            rows = len(labels) if labels.ndim else labels.item()
            raise UserError(f"{label}: x and y differ in length. Received: {len(inputs)} and {rows}")
        named = inputs.dtype == object and inputs.ndim == 1 and not isinstance(inputs[0], bytes)
        ids = inputs if named else _row_names(split, len(inputs))
        if weights is not None:
            weights = checked_weights(weights, label)
            if len(weights) != len(inputs):
                raise UserError(
                    f"{label}: x and weights differ in length. Received: {len(inputs)} and {len(weights)}"
                )
        splits[split] = Rows(inputs, labels, ids, _groups(groups, len(inputs), label), weights=weights)
    splits = _grouped(splits, where)
    shapes = {split: _row_shape(rows.inputs) for split, rows in splits.items()}
    if len({shape[:2] for shape in shapes.values()}) > 1:
        received = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise UserError(f"{where}: the rows of all splits must have the same shape. Received: {received}")
    return Table(splits, class_names, white=white, modality=modality)


def _inputs(x: Any, label: str, ranged: tuple, config: DataConfig | None) -> tuple[np.ndarray, str | None]:
    """Returns the inputs of a split in the form that `Rows.inputs` may hold, and the name of their modality,
    which is None for inputs without names.
    """
    modality = None

    def convert(x: np.ndarray) -> np.ndarray:
        return inputs_of_source(x, label, *ranged, config=config)

    if is_named(x):
        x, modality = rows_of_parts(x, config or DataConfig(source="arrays"), label, convert)
        if modality is not None:
            return x, modality
    return convert(_as_array(x, "x", label)), modality


def _row_shape(inputs: Any) -> tuple[int, ...]:
    """Returns the shape of a row. Of rows of several parts it is that of the picture."""
    parts = by_column(inputs) if isinstance(inputs, np.ndarray) else inputs
    return parts["image"].shape[1:] if isinstance(parts, dict) and "image" in parts else inputs.shape[1:]


def _training_range(pairs: Mapping[str, tuple], where: str, config: Any) -> tuple[int, float | None]:
    """Returns what white is in the training pixels, for all splits, and the largest value of the darkest."""
    split = next(split for split in _TRAINING if split in pairs)
    x = pairs[split][0]
    if is_named(x):
        picture = config.picture if config is not None and config.seconds is None else None
        x = next((x[name] for name in x if name == picture), ())
        if not isinstance(x, np.ndarray):
            x = [one for one in x if isinstance(one, np.ndarray)]
    return training_range(_as_array(x, "x", f"{where} ({split})"))


def require_splits(arrays: object) -> None:
    """Raises `UserError` if arrays are not a dict of splits."""
    if not isinstance(arrays, Mapping):
        raise UserError(
            'Arrays must be given as a dict of splits: data={"train": (x, y), "test": (x, y)}. '
            f"Received: {type(arrays).__name__}"
        )


def _four(given: Any, label: str) -> tuple[Any, Any, Any, Any]:
    """Returns x, y, weights and groups of a split, in which the last ones may be left out."""
    if isinstance(given, tuple) and len(given) not in (2, 3, 4):
        raise UserError(
            f"{label}: a split is (x, y), (x, y, weights), (x, y, weights, groups), or x alone. "
            f"Received: a tuple of {len(given)}"
        )
    pair = isinstance(given, tuple) or (isinstance(given, list) and len(given) == 2)
    x, y, weights, groups = (*given, None, None)[:4] if pair else (given, None, None, None)
    return x, y, weights, groups


def _labels(labels: np.ndarray, label: str) -> np.ndarray | None:
    """Returns labels, or None if all are missing. Some that are missing are refused."""
    if labels.dtype != object or labels.ndim != 1:
        return labels
    missing = [row for row, one in enumerate(labels) if not isinstance(one, str) and is_absent(one)]
    if missing and len(missing) < len(labels):
        raise UserError(
            f"{label}, row {missing[0]}: the label is missing, but in other rows it is not. "
            f"Received: {len(missing)} rows without a label"
        )
    return None if missing else labels


def _row_names(split: str, count: int) -> TextColumn:
    """Returns names that are unique within a domain, because a hash of them can choose the split."""
    return row_ids(count) if split == "all" else row_ids(count, split)


def _grouped(splits: dict[str, Rows], where: str) -> dict[str, Rows]:
    """Returns rows of which those without a group are groups of their own."""
    named = {s: (r.groups, _row_names(s, len(r))) for s, r in splits.items() if r.groups is not None}
    check_groups(where, named)
    for split, (groups, names) in named.items():
        alone = names_of_places(range(len(names))) if split == "all" else names
        splits = splits | {split: replace(splits[split], groups=completed_groups(groups, alone))}
    return splits


def _groups(groups: Any, count: int, label: str) -> TextColumn | None:
    if groups is None:
        return None
    if np.ndim(groups) != 1:
        raise UserError(f"{label}: groups are one name per row. Received: {type(groups).__name__}")
    column = column_of_groups(groups)
    if len(column) != count:
        raise UserError(f"{label}: x and groups differ in length. Received: {count} and {len(column)}")
    return column


def _as_array(value: object, name: str, label: str) -> np.ndarray:
    try:
        return as_array(value)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{label}: {name} is not one array with rows of equal shape. Received: {type(value).__name__}"
        ) from error


SOURCE = Source(
    "npz", "npz:FILE", "arrays x_train, y_train, x_test, ... or x, y: images, vectors, sounds, texts", load
)

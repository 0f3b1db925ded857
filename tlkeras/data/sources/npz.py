"""Arrays in a NumPy file, or passed from Python."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.array_form import as_inputs, white_of
from tlkeras.data.array_parts import is_named, rows_of_parts
from tlkeras.data.input_shapes import by_column
from tlkeras.data.rows import Rows, checked_weights, row_ids
from tlkeras.data.sound_arrays import sounds_in_array
from tlkeras.data.sound_files import SoundSpec
from tlkeras.data.sources.base import Source, Table, check_splits
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
        arrays: Arrays by split: `(x, y)`, `(x, y, weights)`, `(x, None)` or `x`. `x` holds images
            `(n, h, w[, c])`, vectors `(n, d)`, a list of file paths or of texts, or is a dict of named
            inputs; see `tlkeras.data.array_parts`. `y` is `(n,)` or
            `(n, k)`, and `weights` is `(n,)`.
        where: Name of the arrays in messages.
        class_names: Class names in the order of integer labels.
        config: Config of the domain, whose `seconds` makes arrays of numbers sounds, and which names the
            inputs of a dict; or None.
    """
    require_splits(arrays)
    check_splits(arrays, where)
    pairs = {split: _triple(given, f"{where} ({split})") for split, given in arrays.items()}
    (white, darkest), splits, modality = _training_range(pairs, where, config), {}, None
    for split, (x, y, weights) in pairs.items():
        label = f"{where} ({split})"
        ranged = (None, None) if split in _TRAINING else (white, darkest)
        inputs, modality = _inputs(x, label, ranged, config)
        labels = None if y is None else _as_array(y, "y", label)
        if labels is not None and labels.shape[:1] != (len(inputs),):
            rows = len(labels) if labels.ndim else labels.item()
            raise UserError(f"{label}: x and y differ in length. Received: {len(inputs)} and {rows}")
        # Ids must be unique within a domain, because a hash of the id chooses the split.
        names = row_ids(len(inputs)) if split == "all" else row_ids(len(inputs), split)
        named = inputs.dtype == object and inputs.ndim == 1 and not isinstance(inputs[0], bytes)
        ids = inputs if named else names
        if weights is not None:
            weights = checked_weights(weights, label)
            if len(weights) != len(inputs):
                raise UserError(
                    f"{label}: x and weights differ in length. Received: {len(inputs)} and {len(weights)}"
                )
        splits[split] = Rows(inputs, labels, ids, weights=weights)
    shapes = {split: _row_shape(rows.inputs) for split, rows in splits.items()}
    if len({shape[:2] for shape in shapes.values()}) > 1:
        received = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise UserError(f"{where}: the rows of all splits must have the same shape. Received: {received}")
    return Table(splits, class_names, white=white, modality=modality)


def _inputs(x: Any, label: str, ranged: tuple, config: DataConfig | None) -> tuple[np.ndarray, str | None]:
    """Returns the inputs of a split in the form that `Rows.inputs` may hold, and the name of their modality,
    which is None for inputs without names.
    """
    seconds, modality = None if config is None else config.seconds, None

    def convert(x: np.ndarray) -> np.ndarray:
        if config is not None and seconds is not None and x.dtype.kind not in "OUS":
            return sounds_in_array(x, label, SoundSpec.of(config).samples)
        return as_inputs(x, label, *ranged)

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
    x = _as_array(x, "x", f"{where} ({split})")
    if x.ndim not in (3, 4) or not x.size or x.dtype.kind not in "fiub":
        return 255, None
    return white_of(x), float(x.reshape(len(x), -1).max(axis=1).min())


def require_splits(arrays: object) -> None:
    """Raises `UserError` if arrays are not a dict of splits."""
    if not isinstance(arrays, Mapping):
        raise UserError(
            'Arrays must be given as a dict of splits: data={"train": (x, y), "test": (x, y)}. '
            f"Received: {type(arrays).__name__}"
        )


def _triple(given: object, label: str) -> tuple[object, object, object]:
    """Returns x, y and weights of a split that is given as `(x, y)`, `(x, y, weights)` or as `x` alone."""
    if isinstance(given, tuple) and len(given) not in (2, 3):
        raise UserError(
            f"{label}: a split is (x, y), (x, y, weights), or x alone. Received: a tuple of {len(given)}"
        )
    if isinstance(given, tuple) and len(given) == 3:
        return given
    return (*given, None) if isinstance(given, tuple | list) and len(given) == 2 else (given, None, None)


def _as_array(value: object, name: str, label: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{label}: {name} is not one array with rows of equal shape. Received: {type(value).__name__}"
        ) from error


SOURCE = Source(
    "npz", "npz:FILE", "arrays x_train, y_train, x_test, ... or x, y: images, vectors, sounds, texts", load
)

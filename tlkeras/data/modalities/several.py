"""Rows of several parts: pictures or sounds with texts, and columns of a table beside any of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from tlkeras.data.array_form import ArrayForm
from tlkeras.data.input_shapes import by_column, columns
from tlkeras.data.modalities.base import Modality
from tlkeras.data.modalities.columns import Columns, is_absent
from tlkeras.data.modalities.image import Image
from tlkeras.data.modalities.sound import Sound
from tlkeras.data.modalities.text import Text
from tlkeras.data.presence import files_there, marked, missing_file
from tlkeras.data.rows import Rows
from tlkeras.data.sound_files import SoundSpec
from tlkeras.data.sound_windows import all_windows, mean_by_owner
from tlkeras.errors import UserError, unknown

# The parts of a row, in the order of the towers of the model, and the inputs of each.
PARTS = {"image": ("image",), "sound": ("sound",), "text": ("ids", "mask"), "columns": ("columns",)}
# One column of a list has the paths, which are pictures or sounds.
SETS = [
    parts for count in (2, 3) for parts in combinations(PARTS, count) if not {"image", "sound"} <= set(parts)
]
FILES = ("image", "sound")  # parts that may be files
_WORDS = {"image": "pictures", "sound": "sounds", "text": "texts", "columns": "columns"}


def several_name(parts: Iterable[str]) -> str:
    """Returns the name of the modality of rows that have these parts."""
    return "_".join(part for part in PARTS if part in parts)


class Several(Modality):
    """Rows of several parts: `image` float32 `(height, width, 3)` or `sound` float32 `(samples,)`, a text as
    `ids` and `mask` int32 `(max_length,)`, and `columns` float32 `(columns,)`.

    Each part of a row may be missing. A missing picture or sound consists of zeros, a missing text has a mask
    of zeros, and a missing column is NaN. No random change affects a missing picture or sound. A black
    picture or a silent sound that is there has faint values (`tlkeras.data.presence`). In arrays without
    None, zeros are a missing part.

    Args:
        parts: Modalities of the parts, in the order of `PARTS`.
    """

    def __init__(self, parts: Sequence[Modality]):
        self.parts = {part.name: part for part in parts}
        self.made_of = tuple(self.parts)
        self.name = several_name(self.parts)
        first, *others = (_WORDS[name] for name in self.parts)
        self.plural = f"{first} with {' and '.join(others)}"
        self.hub_name = parts[0].hub_name  # the Hub has no task of classifying several parts
        self.values = ", with ".join(part.values for part in parts)
        self.dtypes = {"ids": "int32", "mask": "int32"} if "text" in self.parts else {}
        found = dict.fromkeys(name for part in parts for name in part.augmentations)
        self.augmentations = tuple(name for name in found if name not in ("mixup", "cutmix"))
        self.searched, self.views_advice = parts[0].searched, parts[0].views_advice
        beside = " and ".join(f"model.beside.{name}.backbone" for name in self.made_of[1:])
        self.backbones_advice = f": set {beside}"

    def with_config(self, config):
        return Several([part.with_config(config) for part in self.parts.values()])

    def fitted(self, train):
        # the cells of columns are fitted; rows whose parts are arrays have been
        names = train.inputs.dtype.names
        fits = [part.fitted(train.part(n)) if n in names else part for n, part in self.parts.items()]
        return Several(fits)

    def encoded(self, inputs, config, missing=False):
        found = {}
        for name, part in self.parts.items():
            if name in (inputs.dtype.names or ()):
                made = part.encoded(inputs[name], config, missing=True)
                found |= {n: made[n] for n in PARTS[name]} if made.dtype.names else {name: made}
            else:
                found |= {n: inputs[n] for n in PARTS[name]}
        return columns(found)

    def without(self, rows, part):
        if part not in self.parts:
            raise unknown("part of the rows in data.leave_out", part, self.parts)
        inputs = rows.inputs.copy()
        for name in PARTS[part]:
            inputs[name] = missing_file(name) if inputs.dtype[name].hasobject else _missing(name)
        return replace(rows, inputs=inputs)

    def of_run(self, folder):
        return Several([part.of_run(folder) for part in self.parts.values()])

    def config_of_run(self, config, folder):
        for part in self.parts.values():
            config = part.config_of_run(config, folder)
        return config

    def check_kind(self, name, other: Any):
        super().check_kind(name, other)
        for part, ours in self.parts.items():
            ours.check_kind(name, other.parts[part])

    @property
    def files(self):
        return {file: text for part in self.parts.values() for file, text in part.files.items()}

    def check_model(self, backbone):
        for part in self.parts.values():
            part.check_model(backbone)

    def shape_of_rows(self, rows, config, default_size=None):
        return self._by_input(
            lambda name, part: part.shape_of_rows(rows.part(*PARTS[name]), config, default_size)
        )

    def assumed_shape(self, config, default_size=None):
        return self._by_input(lambda name, part: part.assumed_shape(config, default_size))

    def fits(self, shape):
        return isinstance(shape, dict) and set(shape) == {n for part in self.parts for n in PARTS[part]}

    def image_size(self, shape):
        return shape["image"][:2] if "image" in shape else None

    def resolved(self, config, shape):
        for name, part in self.parts.items():
            config = part.resolved(config, _of_part(name, shape))
        return config

    def check_split(self, split, rows, train):
        for name, part in self.parts.items():
            part.check_split(split, rows.part(*PARTS[name]), train.part(*PARTS[name]))

    def reader(self, rows, config):
        readers = {name: part.reader(rows.part(*PARTS[name]), config) for name, part in self.parts.items()}
        files = [name for name in FILES if name in self.parts and rows.inputs.dtype[name].hasobject]
        return _Readers(readers, {name: files_there(rows.inputs[name], name) for name in files})

    def drawn(self, read: Any, augment, seed, epoch, indices):
        from tlkeras.data.row_changes import still_there

        found = {}
        for name, part in self.parts.items():
            own, settings = read.of_part[name], part.drawable(augment)
            x = read.marked(name, part.chosen(own, settings, seed, epoch, indices), indices)
            if part.augmentations:
                changed = part.augmented(x, settings, seed, epoch, indices)
                x = still_there(x, changed) if name in FILES else changed
            found |= _named(name, x)
        return found

    def windows(self, rows, config):
        sounds = self.parts.get("sound")
        if sounds is None or rows.encoded is None:
            return None
        return all_windows(rows, SoundSpec.of(config), "sound")

    def combined(self, outputs, names):
        return mean_by_owner(outputs, names) if "sound" in self.parts else (outputs, names)

    def scan(self, config, kept_in=None):
        return next(iter(self.parts.values())).scan(config, kept_in)

    def facts_of_rows(self, rows, config):
        facts = {}
        first = self.made_of[0]
        if rows.encoded is not None:
            there = files_there(rows.encoded, first)
            facts[f"without a {_WORDS[first][:-1]}"] = int((~there).sum())
            if first == "sound":
                facts |= self.parts[first].facts_of_rows(rows.take(there).part(first), config)
        if "text" in self.parts:
            there = self._with_text(rows)
            facts["without a text"] = int((~there).sum())
            facts |= self.parts["text"].facts_of_rows(self._texts_of(rows, there), config)
        if "columns" in self.parts:
            facts |= self.parts["columns"].facts_of_rows(rows.part("columns"), config)
        return facts

    def note_on_rows(self, rows, config):
        if "text" not in self.parts:
            return ""
        return self.parts["text"].note_on_rows(self._texts_of(rows, self._with_text(rows)), config)

    def _with_text(self, rows: Rows) -> np.ndarray:
        return np.asarray(rows.part(*PARTS["text"]).inputs["mask"].any(axis=1))

    def _texts_of(self, rows: Rows, there: np.ndarray) -> Rows:
        """Returns the rows that have a text as rows of texts."""
        texts = None if rows.originals is None else rows.originals["text"][there]
        part = rows.part(*PARTS["text"]).take(there)
        return replace(part, originals=texts if there.any() else None)

    def array_form(self, rows, white) -> ArrayForm | None:
        return self.parts["image"].array_form(rows.part("image"), white) if "image" in self.parts else None

    def inputs_like_training(self, x, form, shape):
        given = parts_of(x, self.made_of)
        count = _length(next(iter(given.values())))
        return columns(
            {
                n: made
                for name, part in self.parts.items()
                for n, made in _named(name, self._part_like_training(part, given, form, shape, count)).items()
            }
        )

    def _part_like_training(self, part: Any, given: Mapping, form, shape: dict, count: int) -> Any:
        own = _of_part(part.name, shape)
        if part.name == "text" and "ids" in given:
            return {name: np.asarray(given[name], np.int32) for name in PARTS["text"]}
        if part.name not in given:
            shapes = {n: shape[n] for n in PARTS[part.name]}
            empty = {n: np.zeros((count, *s), self.dtypes.get(n, "float32")) for n, s in shapes.items()}
            return empty if part.name != "columns" else np.full((count, *own), np.nan, np.float32)
        x = given[part.name]
        if part.name == "text":
            if part.tokenizer is None:
                raise UserError("The run has no tokenizer: give ids and mask. Received: texts")
            return by_column(part.tokenizer.encode(texts_or_missing(x), own["ids"][0], missing=True))
        if part.name in FILES:
            return files_of(x, part.name, lambda values: part.inputs_like_training(values, form, own))
        return part.inputs_like_training(x, form, own)

    def picture_spec(self, config):
        return self.parts["image"].picture_spec(config) if "image" in self.parts else None

    def image_sizes(self, rows):
        return self.parts["image"].image_sizes(rows.part("image")) if "image" in self.parts else None

    def pictures(self, x):
        shown = next((name for name in FILES if name in self.parts), None)
        return None if shown is None else self.parts[shown].pictures(x[shown])

    def recordings(self, x):
        return self.parts["sound"].recordings(x["sound"]) if "sound" in self.parts else None

    def texts(self, x):
        shown = [
            part.texts(_of_part(name, x)) for name, part in self.parts.items() if name in ("text", "columns")
        ]
        return [[word for words in row for word in words] for row in zip(*shown, strict=True)]

    def _by_input(self, shape_of) -> dict[str, tuple]:
        shapes = {name: shape_of(name, part) for name, part in self.parts.items()}
        return {n: shape for name, own in shapes.items() for n, shape in _named(name, own).items()}


class _Readers:
    """A function from row indices to a dict of inputs. `of_part` has the readers of the parts.

    Args:
        of_part: Readers by part.
        there: Whether a part that is a file is there in each row, bool `(n,)`, by part.
    """

    def __init__(self, of_part: Mapping[str, Callable], there: Mapping[str, np.ndarray]):
        self.of_part, self._there = of_part, there

    def marked(self, name: str, x, indices):
        """Returns a batch of a part, in which black pictures and silent sounds are marked as being there."""
        from tlkeras.data.row_changes import marked_as_there

        return marked_as_there(x, self._there[name], indices) if name in self._there else x

    def __call__(self, indices):
        made = {name: self.marked(name, read(indices), indices) for name, read in self.of_part.items()}
        return {n: x for name, part in made.items() for n, x in _named(name, part).items()}


def parts_of(x: Any, names: Sequence[str]) -> dict[str, Any]:
    """Returns what was given for the parts of rows, by part; a text may also be given as `ids` and `mask`.

    Args:
        x: Mapping from parts to their values, or a structured array. A part that is missing in all rows may
            be left out.
        names: Names of the parts.

    Raises:
        UserError: There is no part, or one that the rows do not have, or the parts differ in length.
    """
    wanted = "x must be a dict of " + " and ".join(names) + (" (or ids and mask)" if "text" in names else "")
    fields = getattr(getattr(x, "dtype", None), "names", None)
    names_given = x if isinstance(x, Mapping) else fields
    if names_given is None:
        raise UserError(f"{wanted}. Received: {type(x).__name__}")
    given = {str(name): x[name] for name in names_given}
    allowed = {n for name in names for n in (name, *PARTS[name])}
    half = len({"ids", "mask"} & set(given)) == 1
    if not given or set(given) - allowed or half:
        raise UserError(f"{wanted}. Received: {', '.join(given) or 'nothing'}")
    lengths = {name: _length(part) for name, part in given.items()}
    if len(set(lengths.values())) > 1:
        received = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise UserError(f"All parts must have the same number of rows. Received: {received}")
    return given


def texts_or_missing(texts: Iterable) -> list[str]:
    """Returns texts in which a missing one is an empty text. Raises `UserError` for anything but texts."""
    if isinstance(texts, str):
        raise UserError(f"Texts come as a list, even a single one. Received: {texts[:60]!r}")
    texts = ["" if is_absent(one) else one for one in texts]
    other = next((one for one in texts if not isinstance(one, str)), None)
    if other is not None:
        raise UserError(f"text must hold texts. Received: {type(other).__name__}")
    return texts


def _length(part: Any) -> int:
    if isinstance(part, str):
        raise UserError(f"Each part is a list or an array, even of one row. Received: {part[:60]!r}")
    if isinstance(part, Mapping):
        return len(next(iter(part.values()), ()))
    return len(part)


def files_of(x: Iterable, part: str, convert: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns pictures or sounds of which some may be missing: paths and contents of files `(n,)`, or pixels
    or samples `(n, ...)`.

    Args:
        x: Array, or a list of paths, contents of files or arrays, in which None is a missing one.
        part: `image` or `sound`.
        convert: Function that converts an array of pixels or samples.

    Returns:
        The pictures or sounds. Missing ones have the content of `missing_file`, or zeros. Black or silent
        arrays beside None or in a list are faint.

    Raises:
        UserError: The inputs are of several kinds, or have several sizes.
    """
    if isinstance(x, np.ndarray) and x.dtype.kind not in "OUS":
        return convert(x)
    items = [None if is_absent(one) else one for one in x]
    there = [one for one in items if one is not None]
    encoded = [isinstance(one, str | bytes) or hasattr(one, "__fspath__") for one in there]
    if all(encoded):
        kept = [missing_file(part) if one is None else one for one in items]
        return np.array([one if isinstance(one, bytes) else str(one) for one in kept], object)
    shapes = sorted({np.shape(one) for one in there})
    if any(encoded) or len(shapes) > 1:
        received = "both" if any(encoded) else f"shapes {', '.join(map(str, shapes))}"
        raise UserError(f"{part} must hold only paths, or only arrays of one shape. Received: {received}")
    read = marked(convert(np.stack(there)))
    found = np.zeros((len(items), *read.shape[1:]), read.dtype)
    found[[place for place, one in enumerate(items) if one is not None]] = read
    return found


def _missing(name: str) -> float:
    return np.nan if name == "columns" else 0


def _of_part(name: str, values: Mapping[str, Any]) -> Any:
    """Returns the values of a part: one value, or a dict if the part has several inputs."""
    own = {n: values[n] for n in PARTS[name]}
    return own if len(own) > 1 else own[name]


def _named(name: str, made: Any) -> dict[str, Any]:
    return made if isinstance(made, dict) else {name: made}


def modalities() -> list[Several]:
    """Returns the modalities of rows of several parts."""
    of = {"image": Image, "sound": Sound, "text": Text, "columns": Columns}
    return [Several([of[name]() for name in parts]) for parts in SETS]

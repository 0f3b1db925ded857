"""Writes the rows of a domain into shards, TFRecord or tar files, which the sources of these names read."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.data.array_form import as_png
from tlkeras.data.domains import Domain
from tlkeras.data.image_header import image_format
from tlkeras.data.modalities.several import FILES
from tlkeras.data.presence import missing_file
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.data.shard_places import ARRAY, GROUP, LABEL, WEIGHT
from tlkeras.data.sound_files import as_floats
from tlkeras.data.sources.shards import CLASSES, TEXT, UNFINISHED
from tlkeras.errors import RunError, UserError, unknown
from tlkeras.lazy import LateModule
from tlkeras.run_dir import check_writable, replacing

tf = LateModule("tensorflow")

MIB = 2**20
_SOUND_HEADS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"FORM": "aiff"}
_RESERVED = (LABEL, GROUP, WEIGHT, ARRAY, "id")


class Written(NamedTuple):
    """What was written: numbers of rows, of files and of bytes, and the settings that reading it needs."""

    rows: int
    shards: int
    size: int
    settings: tuple[str, ...] = ()


class Row(NamedTuple):
    """What a shard holds of a row.

    Attributes:
        name: Name of the row in its source.
        number: Number of the row in its split.
        content: Encoded picture or sound, or None.
        array: Numbers, float32 `(...)`, or None.
        texts: Columns of texts and cells by name.
        label: Number of the class, other labels as text (`a|b`), or None.
        group: Name of the group, or None.
        weight: Weight of the row, or None.
    """

    name: str
    number: int
    content: bytes | None
    array: np.ndarray | None
    texts: dict[str, str]
    label: int | str | None
    group: str | None
    weight: float | None


def write_shards(
    domain: Domain, folder: str, format: str, shard_mb: int = 256, shuffle_seed: int | None = None
) -> Written:
    """Writes all splits of a domain, each into shards `SPLIT-00000...`.

    Pictures and sounds from files stay as they are encoded. Pictures in arrays of whole numbers become PNG
    files, and other arrays stay numbers. Texts and cells of tables stay texts. Labels, groups and weights are
    written beside them. If the labels are classes, their numbers are written, and their names into
    `classes.txt`. A file `unfinished` stands beside them until all is written.

    Args:
        domain: Domain, whose unreadable rows were left out.
        folder: Output folder, which is empty or missing. It may lie on a bucket (`gs://`).
        format: `tfrecords` or `webdataset`.
        shard_mb: Size in MiB from which on a new shard begins, at least 1.
        shuffle_seed: Seed with which the rows of each split are shuffled, or None to keep their order.

    Raises:
        UserError: The rows have a form that shards do not hold, or the folder is not empty.
        RunError: A file cannot be written, as when the disk is full.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    ending, writer = FORMATS[format]
    rows_of = {split: _Reader(rows, domain, split) for split, rows in domain.splits.items()}
    _check_empty(folder)
    total = Written(0, 0, 0, rows_of["train"].settings)
    _write(f"{folder}/{UNFINISHED}", "The shards in this folder are not complete.\n")
    for split, rows in rows_of.items():
        begin, number, order = 0, 0, np.arange(len(rows))
        if shuffle_seed is not None:
            order = np.random.default_rng(shuffle_seed).permutation(order)
        while begin < len(rows):
            with _creating(f"{folder}/{split}-{number:05d}.{ending}") as path, writer(path) as write:
                end, size = _fill(write, rows, order, begin, shard_mb * MIB)
            total = Written(total.rows + end - begin, total.shards + 1, total.size + size, total.settings)
            begin, number = end, number + 1
    if domain.task != "regression" and domain.class_names:
        _write(f"{folder}/{CLASSES}", "".join(f"{name}\n" for name in domain.class_names))
    with _errors_of_writing(folder):
        tf.io.gfile.remove(f"{folder}/{UNFINISHED}")
    return total


def _fill(write: Any, rows: "_Reader", order: np.ndarray, begin: int, room: int) -> tuple[int, int]:
    """Writes rows into a shard until it is full. Returns the first row of the next, and the bytes written."""
    size, place = 0, begin
    while place < len(rows) and size < room:
        row = rows.row(int(order[place]), place)
        write.append(row)
        size += len(row.content or b"") + (0 if row.array is None else row.array.nbytes)
        size, place = size + sum(map(len, row.texts.values())), place + 1
    return place, size


class _Reader:
    """The rows of a split in the form in which a shard holds them.

    Args:
        rows: Rows of the split.
        domain: Their domain.
        split: Name of the split in messages.

    Attributes:
        settings: Settings that reading the shards needs, such as `data.text=text`.
    """

    def __init__(self, rows: Rows, domain: Domain, split: str):
        self._rows, self._domain = rows, domain
        given: Any = rows.inputs if rows.originals is None else rows.originals
        self._given, config = given, domain.config
        fields = given.dtype.names or (_form_of(domain, given),)
        self._parts = {field: given[field] if given.dtype.names else given for field in fields}
        names = {TEXT: config.text_columns or (TEXT,), "columns": tuple(config.columns)}
        self._columns = {field: names[field] for field in fields if field in names}
        self._check(split)
        self.settings = ()
        if TEXT in self._parts:
            self.settings += (f"data.text={_setting(self._columns[TEXT])}",)
        if "columns" in self._parts:
            self.settings += (f"data.columns={','.join(self._columns['columns'])}",)
        if len(self._parts) > 1 and any(part in FILES for part in self._parts):
            self.settings += (f"data.picture={config.picture or 'image'}",)
        if rows.weights is not None:
            self.settings += (f"data.weights={WEIGHT}",)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, number: int, place: int) -> Row:
        """Returns a row.

        Args:
            number: Number of the row in the split.
            place: Number of the row in the shards of the split.
        """
        rows, content, array, texts = self._rows, None, None, {}
        for field, values in self._parts.items():
            value = values[number]
            if field in FILES:
                content = self._content(field, value, number)
            elif field == ARRAY:
                array = as_floats(value) if self._domain.modality.name == "sound" else value
            else:
                cells = value if isinstance(value, np.ndarray | tuple | list) else (value,)
                texts |= dict(zip(self._columns[field], map(_as_text, cells), strict=True))
        label = None if rows.labels is None else _label(rows, self._domain, number)
        group = None if rows.groups is None else str(rows.groups[number])
        weight = None if rows.weights is None else float(rows.weights[number])
        return Row(str(rows.ids[number]), place, content, array, texts, label, group, weight)

    def _content(self, field: str, value: Any, number: int) -> bytes | None:
        if isinstance(value, np.ndarray):
            return as_png(value)
        if isinstance(value, bytes) and len(self._parts) > 1 and value == missing_file(field):
            return None
        try:
            return contents(value)
        except OSError as error:
            name = self._rows.ids[number]
            raise UserError(f"{name} cannot be opened. Received: {error.strerror or error}") from None

    def _check(self, split: str) -> None:
        refused = [field for field in self._parts if field not in (*FILES, TEXT, "columns", ARRAY)]
        refused += [
            f"{field} of {values.dtype}"
            for field, values in self._parts.items()
            if field in FILES and values.dtype not in (object, np.uint8)
        ]
        if refused:
            raise UserError(
                "Shards hold pictures, sounds, texts, columns of tables, and arrays of numbers. "
                f"Received: {self._domain.modality.plural} as {', '.join(refused)} in {split}"
            )
        for field, names in self._columns.items():
            values = self._parts[field]
            count = 1 if values.ndim == 1 else values.shape[1]
            if len(names) != count:
                raise UserError(
                    f"Shards hold columns under their names: set data.{field}. "
                    f"Received: {len(names)} names for {count} columns in {split}"
                )
            if wrong := [name for name in names if name in _RESERVED]:
                raise UserError(
                    f"A column of shards cannot be called {', '.join(_RESERVED[:-1])} or {_RESERVED[-1]}. "
                    f"Received: data.{field}={wrong[0]}"
                )


def _form_of(domain: Domain, given: Any) -> str:
    """Returns what rows of one part are in a shard: `image` (also sounds), `array`, `text` or `columns`."""
    if domain.modality.name in (TEXT, "columns"):
        return domain.modality.name
    if given.dtype == object or (given.dtype == np.uint8 and given.ndim > 2):
        return "image"
    return ARRAY if given.dtype.kind in "fiu" else str(given.dtype)


def _setting(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else json.dumps(names)


def _as_text(cell: Any) -> str:
    return "" if cell is None else cell if isinstance(cell, str) else str(cell)


def _label(rows: Rows, domain: Domain, row: int) -> int | str:
    label = rows.labels[row]
    if domain.task in ("multiclass", "binary"):
        return int(label)
    if domain.task == "multilabel":
        named = "|".join(name for name, there in zip(domain.class_names, label, strict=True) if there)
        return named or "|"  # an empty text would be no label
    return "|".join(repr(float(value)) for value in label)


class _Records:
    """A TFRecord file of `tf.train.Example` with the usual names of features."""

    def __init__(self, path: str):
        self._file = tf.io.TFRecordWriter(path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def append(self, row: Row) -> None:
        """Appends a row."""
        features = {"image/filename": _bytes(row.name), **{name: _bytes(v) for name, v in row.texts.items()}}
        if row.content is not None:
            kind = "image" if image_format(row.content[:16]) else "audio"
            features[f"{kind}/encoded"] = _bytes(row.content)
        if row.array is not None:
            features[ARRAY] = tf.train.Feature(float_list=tf.train.FloatList(value=row.array.ravel()))
            shape = tf.train.Int64List(value=row.array.shape)
            features[f"{ARRAY}/shape"] = tf.train.Feature(int64_list=shape)
        if isinstance(row.label, int):
            number = tf.train.Int64List(value=[row.label])
            features["image/class/label"] = tf.train.Feature(int64_list=number)
        elif row.label is not None:
            features["image/class/label"] = _bytes(row.label)
        if row.group is not None:
            features[GROUP] = _bytes(row.group)
        if row.weight is not None:
            features[WEIGHT] = tf.train.Feature(float_list=tf.train.FloatList(value=[row.weight]))
        example = tf.train.Example(features=tf.train.Features(feature=features))
        self._file.write(example.SerializeToString())


def _bytes(value: str | bytes) -> Any:
    content = value if isinstance(value, bytes) else value.encode("utf-8", "backslashreplace")
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))


class _Members:
    """A tar file with the members KEY.jpg (or KEY.npy), and KEY.cls, or KEY.json for all else."""

    def __init__(self, path: str):
        self._file = tf.io.gfile.GFile(path, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w|")  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._tar.close()
        self._file.close()

    def append(self, row: Row) -> None:
        """Appends a row."""
        if row.content is not None:
            self._add(f"{row.number:08d}.{_ending(row.content)}", row.content)
        if row.array is not None:
            content = io.BytesIO()
            np.save(content, row.array, allow_pickle=False)
            self._add(f"{row.number:08d}.npy", content.getvalue())
        more: dict[str, Any] = {GROUP: row.group, WEIGHT: row.weight}
        more = {name: value for name, value in more.items() if value is not None} | row.texts
        if isinstance(row.label, int):
            self._add(f"{row.number:08d}.cls", str(row.label).encode())
        elif row.label is not None:
            more[LABEL] = row.label
        if more:
            self._add(f"{row.number:08d}.json", json.dumps(more | {"id": row.name}).encode())

    def _add(self, name: str, content: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))


FORMATS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "tfrecords": ("tfrecord", _Records),
    "webdataset": ("tar", _Members),
}
"""Formats of shards: the ending of the files, and what opens one for writing."""


def _ending(content: bytes) -> str:
    kind = image_format(content[:16]) or _SOUND_HEADS.get(content[:4], "mp3")
    if kind == "wav" and content[8:12] == b"WEBP":
        return "webp"
    return "jpg" if kind == "jpeg" else kind


def _check_empty(folder: str) -> None:
    remote = "://" in folder
    try:
        there = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else []
    except tf.errors.OpError as error:
        raise UserError(f"--output cannot be listed. Received: {folder} ({error.message})") from None
    if there or (not remote and os.path.isfile(folder)):
        raise UserError(
            f"--output must be an empty or a new folder. Received: {folder} with {sorted(there)[:1]}"
        )
    if remote:
        with _errors_of_writing(folder):
            tf.io.gfile.makedirs(folder)
    else:
        check_writable(Path(folder))


def _write(path: str, text: str) -> None:
    with _creating(path) as place, tf.io.gfile.GFile(place, "wb") as file:
        file.write(text.encode())


@contextmanager
def _creating(path: str) -> Iterator[str]:
    """Yields the path to write to. On a disk the file appears only when it is complete."""
    with _errors_of_writing(path), (_removed_on_error if "://" in path else replacing)(path) as place:
        yield str(place)


@contextmanager
def _removed_on_error(path: str) -> Iterator[str]:
    try:
        yield path
    except BaseException:
        with suppress(tf.errors.OpError):
            tf.io.gfile.remove(path)
        raise


@contextmanager
def _errors_of_writing(path: str) -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:  # of the disk, not of memory
        raise RunError(
            f"No space is left to write {path}: free some space, empty the folder and start again. "
            f"Received: {error.message}"
        ) from None
    except tf.errors.OpError as error:
        raise RunError(f"{path} cannot be written. Received: {error.message}") from None

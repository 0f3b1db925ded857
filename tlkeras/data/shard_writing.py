"""Writes the rows of a domain into shards, TFRecord or tar files, which the sources of these names read."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.data.array_form import as_png
from tlkeras.data.domains import Domain
from tlkeras.data.image_header import image_format
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.data.sources.shards import CLASSES
from tlkeras.errors import UserError, unknown
from tlkeras.lazy import LateModule
from tlkeras.run_dir import check_writable, replacing

tf = LateModule("tensorflow")

MIB = 2**20
_SOUND_HEADS = {b"RIFF": "wav", b"fLaC": "flac", b"OggS": "ogg", b"FORM": "aiff"}


class Written(NamedTuple):
    """What was written: numbers of rows, of files and of bytes."""

    rows: int
    shards: int
    size: int


def write_shards(domain: Domain, folder: str, format: str, shard_mb: int = 256) -> Written:
    """Writes all splits of a domain, each into shards `SPLIT-00000...`, in the order of their rows.

    Pictures and sounds from files stay as they are encoded. Arrays of pictures become PNG files. If the
    labels are classes, their numbers are written, and their names into `classes.txt`.

    Args:
        domain: Domain, whose unreadable rows were left out.
        folder: Output folder, which is empty or missing. It may lie on a bucket (`gs://`).
        format: `tfrecords` or `webdataset`.
        shard_mb: Size in MiB from which on a new shard begins, at least 1.

    Raises:
        UserError: The rows are neither pictures nor sounds, or the folder is not empty.
    """
    if format not in FORMATS:
        raise unknown("format", format, FORMATS)
    ending, writer = FORMATS[format]
    for split, rows in domain.splits.items():
        if rows.kind not in ("files", "bytes") and not (
            rows.kind == "images" and rows.inputs.dtype == np.uint8
        ):
            raise UserError(
                "Shards hold encoded pictures or sounds, and pictures of whole numbers become PNG files. "
                f"Received: {domain.modality.plural} as {rows.kind} of {rows.inputs.dtype} in {split}"
            )
    _check_empty(folder)
    total = Written(0, 0, 0)
    for split, rows in domain.splits.items():
        begin, number = 0, 0
        while begin < len(rows):
            with _creating(f"{folder}/{split}-{number:05d}.{ending}") as path, writer(path) as write:
                end, size = _fill(write, rows, domain, begin, shard_mb * MIB)
            total = Written(total.rows + end - begin, total.shards + 1, total.size + size)
            begin, number = end, number + 1
    if domain.task in ("multiclass", "binary") and domain.class_names:
        with _creating(f"{folder}/{CLASSES}") as path, tf.io.gfile.GFile(path, "wb") as file:
            file.write("".join(f"{name}\n" for name in domain.class_names).encode())
    return total


def _fill(write: Any, rows: Rows, domain: Domain, begin: int, room: int) -> tuple[int, int]:
    """Writes rows into a shard until it is full. Returns the first row of the next, and the bytes written."""
    size, row = 0, begin
    while row < len(rows) and size < room:
        content = as_png(rows.inputs[row]) if rows.kind == "images" else _content(rows, row)
        write.append(content, rows.ids[row], row, None if rows.labels is None else _label(rows, domain, row))
        size, row = size + len(content), row + 1
    return row, size


def _content(rows: Rows, row: int) -> bytes:
    try:
        return contents(rows.inputs[row])
    except OSError as error:
        raise UserError(f"{rows.ids[row]} cannot be opened. Received: {error.strerror or error}") from None


def _label(rows: Rows, domain: Domain, row: int) -> int | str:
    label = rows.labels[row]
    if domain.task in ("multiclass", "binary"):
        return int(label)
    if domain.task == "multilabel":
        return "|".join(name for name, there in zip(domain.class_names, label, strict=True) if there)
    return "|".join(repr(float(value)) for value in label)


class _Records:
    """A TFRecord file of `tf.train.Example` with the usual names of features."""

    def __init__(self, path: str):
        self._file = tf.io.TFRecordWriter(path)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._file.close()

    def append(self, content: bytes, name: str, row: int, label: int | str | None) -> None:
        """Appends a row."""
        texts = {"image/encoded": content, "image/filename": name.encode("utf-8", "backslashreplace")}
        features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in texts.items()}
        if isinstance(label, int):
            features["image/class/label"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
        elif label is not None:
            coded = tf.train.BytesList(value=[label.encode()])
            features["image/class/label"] = tf.train.Feature(bytes_list=coded)
        example = tf.train.Example(features=tf.train.Features(feature=features))
        self._file.write(example.SerializeToString())


class _Members:
    """A tar file with the members KEY.jpg and KEY.cls, or KEY.json for labels that are not one class."""

    def __init__(self, path: str):
        self._file = tf.io.gfile.GFile(path, "wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w|")  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._tar.close()
        self._file.close()

    def append(self, content: bytes, name: str, row: int, label: int | str | None) -> None:
        """Appends a row."""
        self._add(f"{row:08d}.{_ending(content)}", content)
        if isinstance(label, int):
            self._add(f"{row:08d}.cls", str(label).encode())
        elif label is not None:
            self._add(f"{row:08d}.json", json.dumps({"label": label, "id": name}).encode())

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
        tf.io.gfile.makedirs(folder)
    else:
        check_writable(Path(folder))


@contextmanager
def _creating(path: str) -> Iterator[str]:
    """Yields the path to write to. On a disk the file appears only when it is complete."""
    if "://" in path:
        yield path
    else:
        with replacing(path) as temporary:
            yield str(temporary)

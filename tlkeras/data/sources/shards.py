"""Rows in shards: large files that hold many pictures or sounds, on a disk or on a bucket (`gs://`).

Each shard is read once to find where its rows lie, and the places are kept in the cache directory. From then
on a row is a part of a file, so that order, resuming and workers are those of any other data.
"""

import contextlib
import hashlib
import os
import re
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows
from tlkeras.data.shard_column import Shard, ShardColumn, opened
from tlkeras.data.sources.base import Table
from tlkeras.data.text_column import TextColumn, TextColumnBuilder
from tlkeras.errors import RunError, UserError, nearest
from tlkeras.lazy import LateModule
from tlkeras.run_dir import replacing

tf = LateModule("tensorflow")

CLASSES = "classes.txt"
FOLDER = "shard_places"
_SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                "dev": "val", "test": "test"}  # fmt: skip
_SETTLED = 2 * 10**9  # as in `fact_store`
_THREADS = 4


class Places(NamedTuple):
    """Where the rows of one shard lie.

    Attributes:
        offset: First byte of each picture or sound, int64 `(n,)`.
        length: Number of its bytes, int64 `(n,)`.
        keys: Names of the rows in the shard.
        labels: Labels as texts, empty where a row has none.
    """

    offset: np.ndarray
    length: np.ndarray
    keys: TextColumn
    labels: TextColumn


class PlacesBuilder:
    """Collects the rows of one shard."""

    def __init__(self):
        self._places, self._keys, self._labels = [], TextColumnBuilder(), TextColumnBuilder()

    def append(self, offset: int, length: int, key: str, label: str | None) -> None:
        """Appends a row. `label` is None if it has none."""
        self._places.append((offset, length))
        self._keys.append(key)
        self._labels.append(label or "")

    def places(self) -> Places:
        """Returns the rows."""
        found = np.array(self._places, np.int64).reshape(-1, 2)
        return Places(found[:, 0], found[:, 1], self._keys.column(), self._labels.column())


@dataclass(frozen=True)
class ShardFormat:
    """One kind of shards.

    Attributes:
        name: Name of the data source.
        suffix: Pattern of the names of the files.
        places: Function of a shard, which finds its rows. It raises `UserError` for a damaged shard.
        way: Settings that the places depend on.
    """

    name: str
    suffix: str
    places: Callable[[Shard], Places]
    way: str = ""


def table_of_shards(argument: str, config: DataConfig, kept_in: Path | None, how: ShardFormat) -> Table:
    """Returns the rows of shards.

    Args:
        argument: A folder of shards, or a pattern of their names such as `DIR/train-*.tar`. A word `train`,
            `val` or `test` in the name of a shard, or of a folder above it, is its split.
        config: Config of the domain.
        kept_in: Cache directory in which the places of the rows are kept, or None.
        how: Kind of the shards.

    Raises:
        UserError: There are no shards, a shard is damaged, or only some rows of a split have a label.
    """
    root, files = _files(argument, how)
    splits: dict[str, list[str]] = {}
    for file in files:
        splits.setdefault(_split_of(_below(root, file), config), []).append(file)
    if "all" in splits and len(splits) > 1:
        raise UserError(
            f"{how.name}:{argument}: some shards have a split in their names and others have none. "
            f"Received: {splits['all'][0]}"
        )
    with ThreadPoolExecutor(_THREADS) as pool:
        tables = {
            split: _rows(root, names, list(pool.map(lambda file: _known(file, kept_in, how), names)), how)
            for split, names in splits.items()
        }
    names = _class_names(root)
    if names is not None:
        tables = {split: _numbered(rows, names, root) for split, rows in tables.items()}
    return Table(tables, names)


def _files(argument: str, how: ShardFormat) -> tuple[str, list[str]]:
    """Returns the folder of the shards, and the shards in it, sorted."""
    path = argument if "://" in argument else os.path.expanduser(argument)
    is_pattern = any(sign in path for sign in "*?[")
    root = os.path.dirname(re.split(r"[*?\[]", path)[0]) if is_pattern else path
    try:
        if is_pattern:
            found = tf.io.gfile.glob(path)
        elif not tf.io.gfile.exists(path):
            raise UserError(f"data.source: no such folder. Received: {path!r}")
        elif tf.io.gfile.isdir(path):
            found = [f"{where}/{name}" for where, _, names in tf.io.gfile.walk(path) for name in names]
            found = [name.replace("//", "/") if "://" not in path else name for name in found]
        else:
            root, found = os.path.dirname(path), [path]
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"data.source: the shards cannot be listed ({_line(error)}). Received: {path!r}"
        ) from None
    shards = sorted(name for name in found if re.search(how.suffix, os.path.basename(name)))
    if not shards:
        raise UserError(
            f"data.source: there are no shards of {how.name}. Received: {path!r} with {len(found)} files"
        )
    return root, shards


def _below(root: str, file: str) -> str:
    """Returns the path of a shard relative to the folder of the shards."""
    return file.removeprefix(root).lstrip("/")


def _split_of(file: str, config: DataConfig) -> str:
    for name in reversed(file.split("/")):
        if named := [ours for ours, theirs in config.split_names.items() if theirs in name]:
            return named[0]
        for word in re.split(r"[^A-Za-z]+", name):
            if word.lower() in _SPLIT_WORDS:
                return _SPLIT_WORDS[word.lower()]
    return "all"


def _known(file: str, kept_in: Path | None, how: ShardFormat) -> tuple[Shard, Places]:
    """Returns a shard and the places of its rows, which an earlier process may have found."""
    try:
        facts = tf.io.gfile.stat(file)
    except tf.errors.OpError as error:
        raise UserError(f"{file} cannot be read ({_line(error)}).") from None
    path = file if "://" in file else os.path.abspath(file)
    shard = Shard(path, int(facts.length), int(facts.mtime_nsec))
    name = hashlib.blake2b(repr((how.name, how.way, shard)).encode(), digest_size=16).hexdigest()
    kept = None if kept_in is None else kept_in / FOLDER / f"{name}.npz"
    if kept is not None and kept.exists():
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return shard, _read(kept)
    places = how.places(shard)
    if kept is not None and 0 < shard.time < time.time_ns() - _SETTLED:
        with contextlib.suppress(OSError, RunError, UserError):
            _write(kept, places)
    return shard, places


def _write(path: Path, places: Places) -> None:
    texts: dict[str, Any] = {
        f"{name}_{part}": np.frombuffer(getattr(column, part), np.uint8)
        if part == "content" else getattr(column, part)
        for name, column in (("keys", places.keys), ("labels", places.labels))
        for part in ("content", "bounds", "places")
    }  # fmt: skip
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, offset=places.offset, length=places.length, **texts)


def _read(path: Path) -> Places:
    with np.load(path, allow_pickle=False) as kept:
        keys, labels = (
            TextColumn(kept[f"{name}_content"].tobytes(), kept[f"{name}_bounds"], kept[f"{name}_places"])
            for name in ("keys", "labels")
        )
        return Places(kept["offset"], kept["length"], keys, labels)


def _rows(root: str, files: list[str], found: list[tuple[Shard, Places]], how: ShardFormat) -> Rows:
    """Returns the rows of the shards of one split."""
    ids, labels = TextColumnBuilder(), TextColumnBuilder()
    for file, (_, places) in zip(files, found, strict=True):
        name = _below(root, file)
        for key, label in zip(places.keys, places.labels, strict=True):
            ids.append(f"{name}:{key}")
            labels.append(label)
    column, names = labels.column(), ids.column()
    missing = column.lengths() == 0
    if missing.any() and not missing.all():
        raise UserError(
            f"{how.name}: {names[int(np.flatnonzero(missing)[0])]} has no label, but others have one. "
            f"Received: {missing.sum()} of {len(missing)} rows without a label"
        )
    counts = [len(places.offset) for _, places in found]
    inputs = ShardColumn(
        tuple(shard for shard, _ in found),
        np.repeat(np.arange(len(found), dtype=np.int32), counts),
        *(np.concatenate([getattr(places, part) for _, places in found]) for part in ("offset", "length")),
    )
    return Rows(inputs, None if missing.all() else column, names)


def _class_names(root: str) -> tuple[str, ...] | None:
    """Returns the names of the classes in their order, which a file beside the shards lists, or None."""
    try:
        with opened(f"{root or '.'}/{CLASSES}") as file:
            return tuple(file.read().decode("utf-8").split("\n")[:-1]) or None
    except (OSError, tf.errors.OpError):
        return None
    except UnicodeDecodeError:
        raise UserError(f"{root}/{CLASSES} is not UTF-8 text with one class on each line.") from None


def _numbered(rows: Rows, names: tuple[str, ...], root: str) -> Rows:
    """Returns rows whose labels are numbers of classes, as a file of class names stands beside them."""
    if rows.labels is None:
        return rows
    texts, number = rows.labels.distinct()
    for text in texts:
        if not (text.isdigit() and int(text) < len(names)):
            raise UserError(
                f"{root}/{CLASSES} lists {len(names)} classes, so labels must be 0..{len(names) - 1}. "
                f"Received: {text!r}"
            )
    labels = np.array([int(text) for text in texts], np.int32)[number]
    return Rows(rows.inputs, labels, rows.ids)


def unknown_feature(what: str, wanted: str, found: list[str], where: str) -> UserError:
    """Returns the error that a row lacks a feature.

    Args:
        what: What the feature holds, such as `picture`.
        wanted: Its name in the source.
        found: Names of the features that the row has.
        where: Name of the shard.
    """
    return UserError(
        f"{where} has no feature {wanted!r} that holds the {what}.{nearest(wanted, found)} "
        f"Received: {', '.join(sorted(found)) or 'no features'}"
    )


def _line(error: Exception) -> str:
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0][:160]


def head_is_compressed(shard: Shard) -> bool:
    """Whether a shard is compressed by gzip, zstandard or bzip2, so that no row can be read alone."""
    with opened(shard.path) as file:
        head = file.read(4)
    return head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd" or head[:3] == b"BZh"

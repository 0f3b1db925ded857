"""The folder of feature entries that runs share. An entry is either absent or complete."""

import contextlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.data import fact_store, shard_places
from tlkeras.run_dir import cache_directory
from tlkeras.run_dir.file_lock import file_lock

_READ_BYTES = 2**22
_KEY = re.compile(r"^[0-9a-f]{32}$")
# complete, half-written, a lock, or a lock of a shard; `.tmp` is of earlier versions
_OF_ENTRY = re.compile(r"^\.?([0-9a-f]{32})(\.parts|\.[0-9a-f]{8}\.tmp|-\w+)?$")


@dataclass(frozen=True)
class EntryInfo:
    """The content of `entry.json`.

    Attributes:
        key: Content key, which is the name of the entry's folder.
        rows: Number of rows.
        shape: Shape of one row.
        dtype: Dtype of the features: `float32`, `float16` or `bfloat16`.
        shard_rows: Number of rows per file. The last file may have fewer.
        checksums: CRC-32 of each file.
        facts: Facts for people: backbone, cut, split, extractor, ...
        created: Time of creation in seconds since 1970.
    """

    key: str
    rows: int
    shape: tuple[int, ...]
    dtype: str
    shard_rows: int
    checksums: tuple[int, ...]
    facts: dict
    created: float

    @property
    def row_bytes(self) -> int:
        """Size of one row in bytes."""
        return int(np.prod(self.shape)) * numpy_dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Size of all rows in bytes."""
        return self.rows * self.row_bytes


_OF_DATA = (fact_store.FOLDER, shard_places.FOLDER)  # what is kept about files, beside the features


class FeatureStore:
    """A folder of entries `features/<key>/`. Each has an `entry.json` and files of raw rows.

    An entry is written under another name (`UnfinishedEntry`) and then renamed, so that a half-written entry
    is never read.
    Checksums are verified whenever an entry is opened.

    Args:
        directory: Cache directory, or None for the default.
    """

    def __init__(self, directory: str | os.PathLike | None = None):
        self.directory = cache_directory(directory)

    def path(self, key: str) -> Path:
        """Returns the folder of an entry, which need not exist."""
        return self.directory / "features" / key

    def usable(self) -> bool:
        """Whether entries can be written here. The folder is created if it is missing."""
        folder = self.directory / "features"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)

    def find(self, key: str) -> EntryInfo | None:
        """Returns the entry of a key, or None. Only names and sizes of its files are checked."""
        path = self.path(key)
        try:
            values = json.loads((path / "entry.json").read_text("utf-8"))
            values["shape"], values["checksums"] = tuple(values["shape"]), tuple(values["checksums"])
            info = EntryInfo(**values)
            sizes = [os.path.getsize(shard) for shard in self.shards(info)]
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return info if sum(sizes) == info.nbytes else None

    def shards(self, info: EntryInfo) -> list[Path]:
        """Returns the files of an entry in the order of its rows."""
        return [self.path(info.key) / f"{i:05d}.bin" for i in range(len(info.checksums))]

    def damaged(self, info: EntryInfo) -> Path | None:
        """Reads an entry and returns the first file with a wrong checksum, or None."""
        for path, checksum in zip(self.shards(info), info.checksums, strict=True):
            try:
                if _checksum(path) != checksum:
                    return path
            except OSError:
                return path
        return None

    def unfinished(self, key: str) -> Path:
        """Returns the folder with the finished shards of an entry that lacks others. It need not exist."""
        return self.directory / "features" / f".{key}.parts"

    def shared(self, key: str):
        """Holds the lock of an entry together with all processes that compute its shards.

        While it is held, `clear` and `locked` leave the entry alone. Its value is False without locks.
        """
        return file_lock(self._lock_path(key), shared=True)

    def locked(self, key: str):
        """Holds the lock of an entry alone. Other processes wait. Its value is False without locks."""
        return file_lock(self._lock_path(key))

    def entries(self) -> list[EntryInfo]:
        """Returns all complete entries, newest first."""
        folder = self.directory / "features"
        keys = [p.name for p in folder.iterdir() if _KEY.match(p.name)] if folder.is_dir() else []
        found = [info for info in map(self.find, keys) if info is not None]
        return sorted(found, key=lambda info: -info.created)

    def remove(self, key: str) -> None:
        """Removes one entry, complete or not."""
        path = self.path(key)
        with contextlib.suppress(OSError):
            (path / "entry.json").unlink(missing_ok=True)  # first, so that a half-removed one is not read
            for child in path.iterdir():
                child.unlink()
            path.rmdir()

    def clear(self, keys: Iterable[str] | None = None) -> tuple[int, list[str]]:
        """Removes complete entries, and the half-written entries of killed processes.

        Without keys, what is kept about the files of data is removed too.

        An entry that a process on any machine is writing stays, because its lock is held.

        Args:
            keys: Keys of the entries to remove, or None for all.

        Returns:
            `(freed bytes, keys of entries that are being written)`.
        """
        freed, busy = 0, []
        for kept in (self.directory / name for name in _OF_DATA if keys is None):
            freed += _size_of(kept)
            shutil.rmtree(kept, ignore_errors=True)
        for key in sorted(self._keys_in_use() if keys is None else keys):
            lock = self._lock_path(key)
            try:
                with file_lock(lock, wait=False):
                    freed += sum(map(_size_of, [self.path(key), *self._half_written(key)]))
                    self._remove_half_written(key)
                    self.remove(key)
                    for path in (*self.locks_of_shards(key), lock):
                        with contextlib.suppress(OSError):
                            path.unlink()
            except BlockingIOError:
                busy.append(key)
        return freed, busy

    def _keys_in_use(self) -> set[str]:
        """Returns the keys of all entries, half-written entries and locks."""
        folders = (self.directory / "features", self.directory / "locks")
        names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return {match[1] for name in names if (match := _OF_ENTRY.match(name))}

    def locks_of_shards(self, key: str) -> list[Path]:
        """Returns the lock files of the shards of an entry."""
        return list((self.directory / "locks").glob(f"{key}-*"))

    def _lock_path(self, key: str) -> Path:
        return self.directory / "locks" / key

    def _half_written(self, key: str) -> list[Path]:
        earlier = (self.directory / "features").glob(f".{key}.*.tmp")
        return [path for path in (self.unfinished(key), *earlier) if path.is_dir()]

    def _remove_half_written(self, key: str) -> None:
        for left in self._half_written(key):
            shutil.rmtree(left, ignore_errors=True)


def numpy_dtype(name: str) -> np.dtype:
    """Returns NumPy's dtype for `float32`, `float16` or `bfloat16`."""
    if name == "bfloat16":
        import ml_dtypes  # comes with Keras

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def _checksum(path: Path) -> int:
    checksum = 0
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_READ_BYTES):
            checksum = zlib.crc32(chunk, checksum)
    return checksum


def _size_of(folder: Path) -> int:
    """Returns the bytes of the files in a folder; of those that are there."""
    size = 0
    with contextlib.suppress(OSError):
        for path in folder.rglob("*"):
            size += path.stat().st_size
    return size

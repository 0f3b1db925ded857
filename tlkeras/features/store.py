"""The folder of feature entries that runs share. An entry is either absent or complete."""

import contextlib
import json
import os
import re
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tlkeras.data import fact_store
from tlkeras.data.sources import shards
from tlkeras.features.entry_lock import entry_lock
from tlkeras.run_dir import cache_directory, replacing
from tlkeras.run_dir.atomic import plain

# An extraction holds one shard of at most this size in memory.
SHARD_BYTES = 64 * 2**20
_READ_BYTES = 2**22
_KEY = re.compile(r"^[0-9a-f]{32}$")
_OF_ENTRY = re.compile(r"^\.?([0-9a-f]{32})(\.[0-9a-f]{8}\.tmp)?$")  # complete, half-written, or a lock


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


_OF_DATA = (fact_store.FOLDER, shards.FOLDER)  # what is kept about files, beside the features


class FeatureStore:
    """A folder of entries `features/<key>/`. Each has an `entry.json` and files of raw rows.

    An entry is written under another name and then renamed, so that a half-written entry is never read.
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

    @contextlib.contextmanager
    def writing(self, key: str, rows: int, shape: tuple[int, ...], dtype: str, facts: dict) -> Iterator:
        """Yields an `EntryWriter`. The entry is put in place if the body ends without an error.

        Raises:
            RunError: The disk is full.
            UserError: The folder cannot be written.
        """
        with replacing(self.path(key)) as temporary:
            temporary.mkdir()
            writer = EntryWriter(temporary, key, rows, tuple(shape), dtype, facts)
            try:
                yield writer
                writer.finish()
            finally:
                writer.close()

    @contextlib.contextmanager
    def locked(self, key: str) -> Iterator[None]:
        """Holds the lock of an entry, so that a second process waits instead of computing the same entry.

        If the file system has no locks, both compute it, and the files of the last one stay.
        """
        with entry_lock(self._lock_path(key)) as held:
            if held:  # half-written files are then from a process that was killed
                self._remove_half_written(key)
            yield

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
                with entry_lock(lock, wait=False):
                    freed += sum(map(_size_of, [self.path(key), *self._half_written(key)]))
                    self._remove_half_written(key)
                    self.remove(key)
                    with contextlib.suppress(OSError):
                        lock.unlink()
            except BlockingIOError:
                busy.append(key)
        return freed, busy

    def _keys_in_use(self) -> set[str]:
        """Returns the keys of all entries, half-written entries and locks."""
        folders = (self.directory / "features", self.directory / "locks")
        names = [path.name for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return {match[1] for name in names if (match := _OF_ENTRY.match(name))}

    def _lock_path(self, key: str) -> Path:
        return self.directory / "locks" / key

    def _half_written(self, key: str) -> list[Path]:
        return list((self.directory / "features").glob(f".{key}.*.tmp"))

    def _remove_half_written(self, key: str) -> None:
        for left in self._half_written(key):
            shutil.rmtree(left, ignore_errors=True)


class EntryWriter:
    """Writes rows in their order to files of at most `SHARD_BYTES`."""

    def __init__(self, folder: Path, key: str, rows: int, shape: tuple[int, ...], dtype: str, facts: dict):
        self._folder, self._key, self._facts = folder, key, facts
        self._rows, self._shape, self._dtype = rows, shape, dtype
        row_bytes = int(np.prod(shape)) * numpy_dtype(dtype).itemsize
        self._shard_rows = min(max(SHARD_BYTES // row_bytes, 1), max(rows, 1))
        self._checksums: list[int] = []
        self._written = 0
        self._file = None

    def append(self, batch: np.ndarray) -> None:
        """Writes rows `(b, *shape)` that have the dtype of the entry."""
        while len(batch):
            room = self._shard_rows - self._written % self._shard_rows
            part, batch = np.ascontiguousarray(batch[:room]), batch[room:]
            if self._file is None:
                self._file = open(self._folder / f"{len(self._checksums):05d}.bin", "wb", buffering=0)  # noqa: SIM115
                self._checksums.append(0)
            content = memoryview(part.view(np.uint8).reshape(-1))
            self._checksums[-1] = zlib.crc32(content, self._checksums[-1])
            while len(content):
                content = content[self._file.write(content) :]
            self._written += len(part)
            if self._written % self._shard_rows == 0:
                self.close()

    def finish(self) -> None:
        """Writes `entry.json`, which completes the entry."""
        self.close()
        if self._written != self._rows:
            raise ValueError(f"An entry must have all its rows. Received: {self._written} of {self._rows}")
        info = EntryInfo(
            self._key, self._rows, self._shape, self._dtype, self._shard_rows, tuple(self._checksums),
            self._facts, time.time(),
        )  # fmt: skip
        # if another process has removed the folder, it must not be created again without its other files
        (self._folder / "entry.json").write_text(json.dumps(plain(asdict(info)), indent=2), "utf-8")

    def close(self) -> None:
        """Closes the open file."""
        if self._file is not None:
            self._file.close()
            self._file = None


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

"""The folder of feature entries that runs share. An entry is either absent, or whole."""

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

from tlkeras.features.entry_lock import entry_lock
from tlkeras.run_dir import replacing
from tlkeras.run_dir.atomic import plain

# Shards of this size are what extraction holds in memory at a time.
SHARD_BYTES = 64 * 2**20
_READ_BYTES = 2**22
_KEY = re.compile(r"^[0-9a-f]{32}$")
_OF_ENTRY = re.compile(r"^\.?([0-9a-f]{32})(\.[0-9a-f]{8}\.tmp)?$")  # whole, half-written, or its lock


def default_cache_dir() -> Path:
    """Returns `~/.cache/tlkeras`, or what XDG_CACHE_HOME makes of it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlkeras"


@dataclass(frozen=True)
class EntryInfo:
    """What `entry.json` says.

    Attributes:
        key: Name of the entry's folder.
        rows: Number of rows.
        shape: Shape of one row.
        dtype: `float32`, `float16` or `bfloat16`.
        shard_rows: Rows per file; the last may hold fewer.
        checksums: CRC-32 of each file.
        facts: What the entry was made from, for people: backbone, cut, split, extractor, ...
        created: Seconds since 1970.
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
        """Bytes of one row."""
        return int(np.prod(self.shape)) * numpy_dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all rows."""
        return self.rows * self.row_bytes


class FeatureStore:
    """A folder of entries `features/<key>/`, each an `entry.json` beside files of raw rows.

    Entries are written beside their place and renamed; a half-written one has another name and is never
    read. Checksums are compared whenever an entry is opened.

    Args:
        directory: The cache directory; None is `default_cache_dir()`.
    """

    def __init__(self, directory: str | os.PathLike | None = None):
        self.directory = Path(directory).expanduser() if directory else default_cache_dir()

    def path(self, key: str) -> Path:
        """Returns the folder of an entry, whether it is there or not."""
        return self.directory / "features" / key

    def usable(self) -> bool:
        """Whether entries can be written here; makes the folder where it is missing."""
        folder = self.directory / "features"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK | os.X_OK)

    def find(self, key: str) -> EntryInfo | None:
        """Returns the entry under a key, or None; looks at names and sizes only."""
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
        """Reads an entry once and returns the first file whose checksum does not fit, or None."""
        for path, checksum in zip(self.shards(info), info.checksums, strict=True):
            try:
                if _checksum(path) != checksum:
                    return path
            except OSError:
                return path
        return None

    @contextlib.contextmanager
    def writing(self, key: str, rows: int, shape: tuple[int, ...], dtype: str, facts: dict) -> Iterator:
        """Yields an `EntryWriter`; the entry takes its place when the body ends without an error.

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
        """Holds the lock of an entry, so that a second process waits for it instead of making it too.

        Where the file system has no locks, both make it, and the last one's files stay.
        """
        with entry_lock(self._lock_path(key)) as held:
            if held:  # then what is half-written is by a process that was killed
                self._remove_half_written(key)
            yield

    def entries(self) -> list[EntryInfo]:
        """Returns all whole entries, newest first."""
        folder = self.directory / "features"
        keys = [p.name for p in folder.iterdir() if _KEY.match(p.name)] if folder.is_dir() else []
        found = [info for info in map(self.find, keys) if info is not None]
        return sorted(found, key=lambda info: -info.created)

    def remove(self, key: str) -> None:
        """Removes one entry, whole or not."""
        path = self.path(key)
        with contextlib.suppress(OSError):
            (path / "entry.json").unlink(missing_ok=True)  # first, so that a half-removed one is not read
            for child in path.iterdir():
                child.unlink()
            path.rmdir()

    def clear(self, keys: Iterable[str] | None = None) -> tuple[int, list[str]]:
        """Removes entries, whole ones and what killed processes left of them.

        An entry that a process is making, here or elsewhere, stays: its lock is held.

        Args:
            keys: Which; None is all.

        Returns:
            `(bytes freed, keys that are being made)`.
        """
        freed, busy = 0, []
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
        """Returns the keys of all entries, half-written ones, and locks."""
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
    """Takes rows in their order and writes them to files of at most `SHARD_BYTES`."""

    def __init__(self, folder: Path, key: str, rows: int, shape: tuple[int, ...], dtype: str, facts: dict):
        self._folder, self._key, self._facts = folder, key, facts
        self._rows, self._shape, self._dtype = rows, shape, dtype
        row_bytes = int(np.prod(shape)) * numpy_dtype(dtype).itemsize
        self._shard_rows = min(max(SHARD_BYTES // row_bytes, 1), max(rows, 1))
        self._checksums: list[int] = []
        self._written = 0
        self._file = None

    def append(self, batch: np.ndarray) -> None:
        """Writes rows `(b, *shape)`; they have the entry's dtype."""
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
        """Writes `entry.json`, which is what makes the files an entry."""
        self.close()
        if self._written != self._rows:
            raise ValueError(f"An entry must have all its rows. Received: {self._written} of {self._rows}")
        info = EntryInfo(
            self._key, self._rows, self._shape, self._dtype, self._shard_rows, tuple(self._checksums),
            self._facts, time.time(),
        )  # fmt: skip
        # the folder is put in place as a whole; where somebody has removed it, it must not come back empty
        (self._folder / "entry.json").write_text(json.dumps(plain(asdict(info)), indent=2), "utf-8")

    def close(self) -> None:
        """Closes the file that is being written."""
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
        for path in folder.iterdir():
            size += path.stat().st_size
    return size

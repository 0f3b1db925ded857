"""An entry that any number of processes write, shard by shard, until all shards are there."""

import contextlib
import json
import os
import random
import re
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tlkeras.features.store import EntryInfo, FeatureStore, numpy_dtype
from tlkeras.run_dir.atomic import disk_errors, flush, plain, write_text
from tlkeras.run_dir.file_lock import take_lock

# A shard has at most this many bytes, unless one block of rows is larger.
SHARD_BYTES = 64 * 2**20
# Rows are computed in the blocks of at most this many rows that a device takes at once. Shards are multiples
# of them, so a row is always computed in the same block, whoever computes it.
BLOCK_ROWS = 128
# More shards make a better division among many machines, and more files.
_MOST_SHARDS = 256
_SHARD = re.compile(r"^(\d{5,})(?:-([0-9a-f]{8}))?\.bin$")
_WANTED = "wanted.json"  # what the entry will be


def shard_rows(rows: int, row_bytes: int) -> int:
    """Returns the number of rows per shard, which depends on nothing else, so that all processes agree.

    Args:
        rows: Number of rows of the entry.
        row_bytes: Size of one row in bytes.
    """
    wanted = -(-rows // (BLOCK_ROWS * _MOST_SHARDS))
    fitting = max(SHARD_BYTES // (BLOCK_ROWS * row_bytes), 1)
    return BLOCK_ROWS * max(min(wanted, fitting), 1)


class UnfinishedEntry:
    """The shards of an entry that are there, in a folder of their own that becomes the entry.

    A shard appears under its name when it is complete. The name also holds its checksum. A process takes a
    lock before it computes a shard. The system releases the locks of a process that dies, so that others can
    compute its shards. Without locks (some network drives), a shard may be computed twice, and one is kept.

    Args:
        store: Store that will contain the entry.
        key: Content key.
        rows: Number of rows.
        shape: Shape of one row.
        dtype: Name of the dtype.
        facts: Facts for people.
        part: Index of this worker and number of workers. A worker begins with its own part of the shards.
    """

    def __init__(
        self, store: FeatureStore, key: str, rows: int, shape, dtype: str, facts: dict,
        part: tuple[int, int] = (0, 1),
    ):  # fmt: skip
        self.store, self.key, self.rows, self.facts = store, key, rows, facts
        self.shape, self.dtype = tuple(shape), dtype
        self.row_bytes = int(np.prod(self.shape)) * numpy_dtype(dtype).itemsize
        self.shard_rows = min(shard_rows(rows, self.row_bytes), max(rows, 1))
        self.count = -(-rows // self.shard_rows)
        self.folder = store.unfinished(key)
        index, workers = part
        own = range(index, self.count, workers)
        self._order = [*own, *(shard for shard in range(self.count) if shard % workers != index)]
        self._claimed: set[int] = set()

    def begin(self, locks: bool) -> None:
        """Creates the folder, or goes on with that of earlier processes. No shard is claimed yet.

        Args:
            locks: Whether the file system has locks. Without them, processes begin at different shards.
        """
        self._claimed = set()
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / _WANTED).exists():
            facts = {"rows": self.rows, "shape": self.shape, "dtype": self.dtype, "facts": self.facts}
            write_text(self.folder / _WANTED, json.dumps(plain(facts)))
        for name in self._names().values():
            if os.path.getsize(self.folder / name) != self._size(_number_and_checksum(name)[0]):
                (self.folder / name).unlink()  # after a power cut
        if not locks and self.count:
            first = random.SystemRandom().randrange(self.count)
            self._order = [*range(first, self.count), *range(first)]

    def claim(self) -> "LockedShard | None":
        """Returns a missing shard that no other process computes, or None."""
        try:
            return self._claim()
        except FileNotFoundError:  # the folder has become the entry, or somebody has removed it
            return None

    def _claim(self) -> "LockedShard | None":
        there = self._names()
        for number in self._order:
            if number in there or number in self._claimed:
                continue
            try:
                lock = take_lock(self._lock_path(number), wait=False)
            except BlockingIOError:
                continue
            claim = LockedShard(self, number, lock)
            if number not in self._names():  # another process may have completed it a moment ago
                self._claimed.add(number)
                return claim
            claim.close()
        return None

    def done_rows(self) -> int:
        """Returns the number of rows in the shards that are there.

        Raises:
            FileNotFoundError: The folder has become the entry, or somebody has removed it.
        """
        return sum(self.rows_of(number) for number in self._names())

    def rows_of(self, number: int) -> int:
        """Returns the number of rows of a shard."""
        return min(self.shard_rows, self.rows - number * self.shard_rows)

    def finish(self) -> bool:
        """Makes the entry complete if all shards are there. Returns whether this process has done so.

        Raises:
            FileNotFoundError: Another process has done so, or somebody has removed the folder.
        """
        try:
            lock = take_lock(self._lock_path("finish"), wait=False)
        except BlockingIOError:
            return False
        try:
            names = self._names()
            if len(names) < self.count:
                return False
            with disk_errors(self.folder):
                self._complete(names)
            return True
        finally:
            for path in self.store.locks_of_shards(self.key) if not self.folder.exists() else ():
                path.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)

    def leave(self) -> None:
        """Removes the folder if it holds no shard and no other process has begun one."""
        with contextlib.suppress(OSError):
            finishing = self._lock_path("finish")
            begun = [path for path in self.store.locks_of_shards(self.key) if path != finishing]
            if not begun and not set(os.listdir(self.folder)) - {_WANTED}:
                (self.folder / _WANTED).unlink(missing_ok=True)
                self.folder.rmdir()

    def _complete(self, names: dict[int, str]) -> None:
        info = EntryInfo(
            self.key, self.rows, self.shape, self.dtype, self.shard_rows, self._checksums(names), self.facts,
            time.time(),
        )  # fmt: skip
        write_text(self.folder / "entry.json", json.dumps(plain(asdict(info)), indent=2))
        for number, name in names.items():
            os.replace(self.folder / name, self.folder / f"{number:05d}.bin")
        kept = {"entry.json", *(f"{number:05d}.bin" for number in names)}
        for left in self.folder.iterdir():
            if left.name not in kept:
                left.unlink()
        flush(self.folder)
        self.store.remove(self.key)  # an entry that lacks files
        os.rename(self.folder, self.store.path(self.key))

    def _checksums(self, names: dict[int, str]) -> tuple[int, ...]:
        """Returns checksums from the names, or from the `entry.json` of a process that died in `finish`."""
        found = [_number_and_checksum(names[number])[1] for number in sorted(names)]
        known = tuple(int(text, 16) for text in found if text is not None)
        if len(known) == len(found):
            return known
        noted = json.loads((self.folder / "entry.json").read_text("utf-8"))["checksums"]
        return tuple(noted[i] if text is None else int(text, 16) for i, text in enumerate(found))

    def _names(self) -> dict[int, str]:
        """Returns the file names of the shards that are there, by number."""
        noted, found = False, {}
        for name in sorted(os.listdir(self.folder)):
            noted = noted or name == "entry.json"
            if match := _SHARD.match(name):
                found[int(match[1])] = name
        if not noted:  # then a name without a checksum is not ours
            found = {number: name for number, name in found.items() if "-" in name}
        return {number: name for number, name in found.items() if number < self.count}

    def _size(self, number: int) -> int:
        return self.rows_of(number) * self.row_bytes

    def _lock_path(self, what: int | str) -> Path:
        name = what if isinstance(what, str) else f"{what:05d}"
        return self.store.directory / "locks" / f"{self.key}-{name}"


def unfinished_entries(store: FeatureStore) -> list[UnfinishedEntry]:
    """Returns the entries of a store that lack shards, which a process computes or has left."""
    found = []
    for folder in sorted((store.directory / "features").glob(".*.parts")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            wanted = json.loads((folder / _WANTED).read_text("utf-8"))
            found.append(UnfinishedEntry(store, folder.name[1:].removesuffix(".parts"), **wanted))
    return found


@dataclass
class Span:
    """Consecutive rows.

    Attributes:
        begin: First row.
        end: Last row plus one.
    """

    begin: int
    end: int

    def blocks(self, width: int) -> Iterator[tuple["Span", int, int]]:
        """Yields `(this, first row, last row plus one)` of blocks of at most `width` rows."""
        for begin in range(self.begin, self.end, width):
            yield self, begin, min(begin + width, self.end)


class LockedShard(Span):
    """A shard that this process computes, while it holds the lock of its file.

    It is not a `TakenPiece` of `run_dir.shared_work`: a shard takes seconds and may be computed twice without
    harm, so that a lock that the system releases at once is enough. A run takes hours and must not be trained
    twice in one folder, also where there are no locks, so that it needs heartbeats and files that stay.

    Args:
        entry: Unfinished entry.
        number: Number of the shard.
        lock: Descriptor of its lock, or None on a file system without locks.
    """

    def __init__(self, entry: UnfinishedEntry, number: int, lock: int | None):
        self._entry, self.number, self._lock = entry, number, lock
        begin = number * entry.shard_rows
        super().__init__(begin, begin + entry.rows_of(number))
        self._file, self._checksum, self._written = None, 0, 0

    def append(self, rows: np.ndarray) -> bool:
        """Writes the next rows `(b, *shape)` in the entry's dtype. Returns whether the shard is complete.

        Raises:
            RunError: The disk is full.
            FileNotFoundError: Somebody has removed the folder.
        """
        with disk_errors(self._temporary):
            if self._file is None:
                self._file = open(self._temporary, "wb", buffering=0)  # noqa: SIM115
            content = np.ascontiguousarray(rows).view(np.uint8).reshape(-1).data
            self._checksum = zlib.crc32(content, self._checksum)
            while len(content):
                content = content[self._file.write(content) :]
            self._written += len(rows)
            if self._written < self.end - self.begin:
                return False
            self._file.close()
            os.replace(self._temporary, self._entry.folder / f"{self.number:05d}-{self._checksum:08x}.bin")
        self._file = None
        self.close()
        return True

    def close(self) -> None:
        """Gives up the shard, or its lock if the shard is complete."""
        if self._file is not None:
            self._file.close()
            self._file = None
            with contextlib.suppress(OSError):
                self._temporary.unlink()
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._entry._lock_path(self.number).unlink()
            os.close(self._lock)
            self._lock = None

    @property
    def _temporary(self) -> Path:
        return self._entry.folder / f".{self.number:05d}-{os.getpid():08x}.tmp"


def _number_and_checksum(name: str) -> tuple[int, str | None]:
    found = _SHARD.match(name)
    assert found, f"{name} is no shard"
    return int(found[1]), found[2]

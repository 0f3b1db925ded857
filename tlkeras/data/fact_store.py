"""What was found in a file, kept between runs under the path, the size and the time of the file.

The store is a folder of files that are never changed. A process reads all of them, and writes what it found
anew as one more. Several processes, also on several machines, can therefore use it at once. A lock on a group
of files to look at only prevents that two processes look at the same ones.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config import CacheConfig
from tlkeras.errors import RunError, UserError
from tlkeras.run_dir import cache_directory, replacing
from tlkeras.run_dir.file_lock import take_lock
from tlkeras.run_dir.waiting import Waiting

FOLDER = "file_facts"
_SUFFIX = ".npy"
# From so many files on, they are merged into one.
_FILES = 8
_BLOCK = 512
# Processes divide files in groups of at least this many, and in at most so many groups. What was found in a
# group is kept before the next one begins, so that little is lost with a process.
_LEAST_GROUP, _MOST_GROUPS = 1024, 64
# A file that is younger, in nanoseconds, could still change without a change of its time.
_SETTLED = 2 * 10**9
_KEY = [("key", np.uint64), ("more", np.uint64)]
_CODE = ("utf-8", "surrogatepass")  # names of files need not be valid UTF-8


def kept_in(cache: CacheConfig) -> Path | None:
    """Returns the cache directory in which facts about files are kept, or None if there is no cache."""
    return cache_directory(cache.dir) if cache.enabled else None


def identity_of_file(file: Any) -> tuple[str, int]:
    """Returns a text that tells the content of a file from any other, and the time of its last change.

    The text consists of the path, the size and the time, which is in nanoseconds.

    Args:
        file: Path, or a part of a file with a method `identity()`.

    Raises:
        OSError: The file cannot be found.
    """
    if isinstance(file, bytes):
        raise FileNotFoundError("The content of a picture, as of a missing one, has no file.")
    if not isinstance(file, str):
        return file.identity()
    facts = os.stat(file)
    return f"{os.path.abspath(file)}\0{facts.st_size}\0{facts.st_mtime_ns}", facts.st_mtime_ns


def digest_of_files(files: Sequence[str]) -> str | None:
    """Returns a digest (32 hexadecimal digits) of the paths, sizes and times of files in their order.

    It is None if a file is missing, or is so young that it could still change without a change of its time.

    Args:
        files: Paths.
    """
    digest, settled = hashlib.blake2b(digest_size=16), time.time_ns() - _SETTLED

    def identities(begin: int) -> list[tuple[str, int]]:
        return [identity_of_file(file) for file in files[begin : begin + _BLOCK]]

    try:
        with ThreadPoolExecutor() as pool:
            for found in pool.map(identities, range(0, len(files), _BLOCK)):
                if max(changed for _, changed in found) > settled:
                    return None
                digest.update("".join(f"{text}\0" for text, _ in found).encode(*_CODE))
    except OSError:
        return None
    return digest.hexdigest()


class FactStore:
    """The facts about files of one kind, found in one way.

    Args:
        directory: Cache directory, which holds the store as the folder `file_facts`.
        kind: Kind of the files, such as `images`.
        way: Settings that the facts depend on.
        anew: Whether every file is looked at again, as if the store were empty.
    """

    def __init__(self, directory: Path, kind: str, way: str, *, anew: bool = False):
        self.folder, self.anew = directory / FOLDER / kind, anew
        self._way = hashlib.blake2b(way.encode(), digest_size=16)

    def open(self, files: Any, pool: Executor) -> "KnownFacts | None":
        """Returns what is known of these files, or None if the inputs are not files.

        Args:
            files: Paths, or parts of files with a method `identity()`, `(n,)`.
            pool: Threads that ask the file system.
        """
        if not len(files) or not (isinstance(files[0], str) or hasattr(files[0], "identity")):
            return None
        return KnownFacts(self, files, pool)

    def mark(self, file: Any) -> tuple[int, int, int]:
        """Returns the key of a file, two unsigned integers, and the time of its last change in nanoseconds.

        Raises:
            OSError: The file cannot be found.
        """
        text, changed = identity_of_file(file)
        digest = self._way.copy()
        digest.update(text.encode(*_CODE))
        whole = digest.digest()
        return int.from_bytes(whole[:8], "big"), int.from_bytes(whole[8:], "big"), changed

    def parts(self, dtype: np.dtype, but: Container[Path] = ()) -> dict[Path, np.ndarray]:
        """Returns the content of every complete file with these columns, sorted by `key`.

        Args:
            dtype: Columns of the facts.
            but: Paths of files to leave out.
        """
        found = {}
        for path in (path for path in self._paths() if path not in but):
            with contextlib.suppress(OSError, ValueError, EOFError):
                part = np.load(path, allow_pickle=False)
                if part.dtype == _with_key(dtype) and _name(part) == path.stem:
                    found[path] = part
        return found

    def add(self, part: np.ndarray) -> Path | None:
        """Writes facts with their keys. Returns the path of the file, or None where none can be written.

        Args:
            part: Facts with keys, a structured array `(m,)`.
        """
        with contextlib.suppress(OSError, RunError, UserError):
            return self._write(part[np.argsort(part["key"], kind="stable")])
        return None

    def merge(self, dtype: np.dtype) -> None:
        """Makes one file of all files with these columns if there are many.

        Args:
            dtype: Columns of the facts.
        """
        if len(self._paths()) < _FILES:
            return
        parts = self.parts(dtype)
        if len(parts) < _FILES:
            return
        old, whole = list(parts), np.concatenate([*parts.values()])
        del parts
        whole = whole[np.lexsort((whole["more"], whole["key"]))]
        again = (whole["key"][1:] == whole["key"][:-1]) & (whole["more"][1:] == whole["more"][:-1])
        with contextlib.suppress(OSError, RunError, UserError):
            kept = self._write(whole[np.append(True, ~again)])
            for path in old:
                if path != kept:
                    path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"*{_SUFFIX}"))

    def _write(self, part: np.ndarray) -> Path:
        path = self.folder / f"{_name(part)}{_SUFFIX}"
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.save(file, part, allow_pickle=False)
        return path


class KnownFacts:
    """What a store knows of some files.

    Args:
        store: The store.
        files: Paths, `(n,)`.
        pool: Threads that ask the file system.
    """

    def __init__(self, store: FactStore, files: Any, pool: Executor):
        self._store, self._files, self._pool, self._began = store, files, pool, time.time_ns()
        self._marks = self._marked(np.arange(len(files), dtype=np.int32))
        self._read: set[Path] = set()

    def complete(self, table: np.ndarray, look: Callable[[np.ndarray], np.ndarray]) -> None:
        """Fills in the known facts, and has all other files looked at.

        Other processes that complete the same facts look at other groups of files meanwhile.

        Args:
            table: Facts, a structured array `(n,)`.
            look: Function of the numbers of files, in their order, which writes their facts into `table` and
                returns the numbers of the files whose facts are to be kept.
        """
        missing = np.ones(len(table), bool)
        self._fill(table, missing)
        if not missing.any():
            return
        rows = max(_LEAST_GROUP, -(-len(table) // _MOST_GROUPS))
        groups = [slice(begin, begin + rows) for begin in range(0, len(table), rows)]
        waiting = Waiting("Other processes look at the last files. This one waits for them.")
        while groups := [group for group in groups if not self._completed(group, table, missing, look)]:
            waiting.until_next_look()
        self._store.merge(table.dtype)

    def _completed(self, group: slice, table: np.ndarray, missing: np.ndarray, look) -> bool:
        """Completes a group of files. Returns whether it is complete, or another process looks at it."""
        if not missing[group].any():
            return True
        path = self._store.folder / "locks" / _name(self._marks[group])
        try:
            lock = take_lock(path, wait=False)
        except BlockingIOError:
            return False
        try:
            self._fill(table, missing)  # what others have found meanwhile
            rows = group.start + np.flatnonzero(missing[group])
            self._keep(table, look(rows))
            missing[rows] = False
        finally:
            if lock is not None:
                path.unlink(missing_ok=True)
                os.close(lock)
        return True

    def _fill(self, table: np.ndarray, missing: np.ndarray) -> None:
        """Fills in the facts that are known and were not yet read, and notes that they are not missing."""
        parts = {} if self._store.anew else self._store.parts(table.dtype, self._read)
        self._read |= parts.keys()
        for part in parts.values():
            rows = np.flatnonzero(missing)
            keys, more = self._marks["key"][rows], self._marks["more"][rows]
            places = np.minimum(np.searchsorted(part["key"], keys), len(part) - 1)
            known = (part["key"][places] == keys) & (part["more"][places] == more)
            for column in table.dtype.fields or ():
                table[column][rows[known]] = part[column][places[known]]
            missing[rows[known]] = False

    def _keep(self, table: np.ndarray, rows: np.ndarray) -> None:
        """Keeps facts that were found anew, of files that did not change meanwhile."""
        before, after = self._marks[rows], self._marked(rows)
        same = (before == after) & (before["time"] > 0) & (before["time"] < self._began - _SETTLED)
        rows = rows[same]
        if not len(rows):
            return
        part = np.empty(len(rows), _with_key(table.dtype))
        part["key"], part["more"] = before["key"][same], before["more"][same]
        for column in table.dtype.fields or ():
            part[column] = table[column][rows]
        if path := self._store.add(part):
            self._read.add(path)

    def _marked(self, rows: np.ndarray) -> np.ndarray:
        """Returns key and time of files. The time of a file that cannot be found is 0."""
        marks = np.zeros(len(rows), [*_KEY, ("time", np.int64)])

        def mark(begin: int) -> None:
            for place in range(begin, min(begin + _BLOCK, len(rows))):
                with contextlib.suppress(OSError, ValueError):
                    marks[place] = self._store.mark(self._files[rows[place]])

        for _ in self._pool.map(mark, range(0, len(rows), _BLOCK)):
            pass
        return marks


def _with_key(dtype: np.dtype) -> np.dtype:
    return np.dtype([*_KEY, *dtype.descr])


def _without_key(dtype: np.dtype) -> np.dtype:
    return np.dtype([column for column in dtype.descr if column[0] not in ("key", "more")])


def _name(part: np.ndarray) -> str:
    """Returns the name of a file, which is a digest of its content, so that a damaged file is noticed."""
    return hashlib.blake2b(np.ascontiguousarray(part).view(np.uint8).data, digest_size=16).hexdigest()

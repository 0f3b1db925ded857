"""Rows that are parts of large files (shards), on a disk or on a bucket (`gs://`), as a column."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")


def opened(path: str) -> Any:
    """Opens a file on a disk, or with `tf.io.gfile` on a bucket, for reading bytes."""
    return tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")


class Shard(NamedTuple):
    """A file of many rows, with its size in bytes and the time of its last change in nanoseconds."""

    path: str
    size: int
    time: int


class ShardRow(NamedTuple):
    """The place of an encoded picture or sound in a shard."""

    shard: Shard
    offset: int
    length: int

    def read(self) -> bytes:
        """Returns the content. Raises `OSError` if it cannot be read in full."""
        with opened(self.shard.path) as file:
            file.seek(self.offset)
            content = file.read(self.length)
        if len(content) < self.length:
            raise OSError(f"{self.shard.path} has changed and ends too early")
        return content

    def identity(self) -> tuple[str, int]:
        """Returns a text that tells this content from any other, and the time of its last change."""
        path, size, changed = self.shard
        return f"{path}\0{size}\0{changed}\0{self.offset}\0{self.length}", changed


class ShardColumn:
    """Rows in shards `(n,)`, which can be used like a NumPy array of objects that is never written to.

    Args:
        shards: The shards.
        number: Number of each row's shard, int32 `(n,)`.
        offset: First byte of each row, int64 `(n,)`.
        length: Number of bytes of each row, int64 `(n,)`.
    """

    dtype = np.dtype(object)
    ndim = 1

    def __init__(self, shards: tuple[Shard, ...], number: np.ndarray, offset: np.ndarray, length: np.ndarray):
        self.shards, self.number, self.offset, self.length = shards, number, offset, length

    @staticmethod
    def joined(columns: "list[ShardColumn]") -> "ShardColumn":
        """Returns the rows of several columns after one another."""
        begins = np.cumsum([0, *(len(one.shards) for one in columns)])
        numbers = [one.number + begin for one, begin in zip(columns, begins, strict=False)]
        parts = [np.concatenate([getattr(one, part) for one in columns]) for part in ("offset", "length")]
        shards = tuple(shard for one in columns for shard in one.shards)
        return ShardColumn(shards, np.concatenate(numbers), *parts)

    @property
    def shape(self) -> tuple[int]:
        """Number of rows, as a tuple."""
        return (len(self),)

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            shard = self.shards[self.number[index]]
            return ShardRow(shard, int(self.offset[index]), int(self.length[index]))
        return ShardColumn(self.shards, self.number[index], self.offset[index], self.length[index])

    def __iter__(self) -> Iterator[ShardRow]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        rows = np.empty(len(self), object)
        rows[:] = [*self, None][:-1]  # a list of tuples would become a second axis
        return rows

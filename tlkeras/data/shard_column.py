"""Rows that are parts of large files (shards), on a disk or on a bucket (`gs://`), as a column."""

import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np

from tlkeras.lazy import LateModule
from tlkeras.maybe import MaybeNone

tf = LateModule("tensorflow")

# From so many places at once a training reads rows in the order of shards; see `orders`.
STREAMS = 16
# A bucket needs about the same time for so many bytes as for one.
BLOCK_BYTES = 4 * 2**20


def opened(path: str) -> Any:
    """Opens a file on a disk, or with `tf.io.gfile` on a bucket, for reading bytes."""
    return tf.io.gfile.GFile(path, "rb") if "://" in path else open(path, "rb")


class Shard(NamedTuple):
    """A file of many rows, with its size in bytes and the time of its last change in nanoseconds."""

    path: str
    size: int
    time: int


class Blocks:
    """Blocks of shards, which are kept in memory while rows near them are read. Threads share them.

    Args:
        room: Bytes that are kept.

    Attributes:
        most: Number of blocks that are kept.
    """

    def __init__(self, room: int):
        self.most = max(room // BLOCK_BYTES, 1)
        self._kept: OrderedDict[tuple[str, int], Future] = OrderedDict()
        self._guard = threading.Lock()

    def read(self, shard: "Shard", offset: int, length: int) -> bytes:
        """Returns bytes of a shard, fewer at its end. Raises `OSError` if it cannot be read."""
        first, end = offset // BLOCK_BYTES, offset + length
        numbers = range(first, max(-(-end // BLOCK_BYTES), first + 1))
        parts = [self._block(shard, number) for number in numbers]
        content, begin = parts[0] if len(parts) == 1 else b"".join(parts), offset - first * BLOCK_BYTES
        return content[begin : begin + length]  # one slice, so that no block is copied

    def _block(self, shard: "Shard", number: int) -> bytes:
        place = (shard.path, number)
        with self._guard:
            block = self._kept.get(place)
            if known := block is not None:
                self._kept.move_to_end(place)
            else:
                block = self._kept[place] = Future()
                while len(self._kept) > self.most:
                    self._kept.popitem(last=False)
        if not known:
            try:
                block.set_result(_bytes_of(shard, number * BLOCK_BYTES, BLOCK_BYTES))
            except BaseException as error:
                with self._guard:
                    self._kept.pop(place, None)
                block.set_exception(error)
        return block.result()


def _bytes_of(shard: "Shard", offset: int, length: int) -> bytes:
    try:
        with opened(shard.path) as file:
            file.seek(offset)
            return file.read(length)
    except tf.errors.OpError as error:  # of a bucket
        raise OSError(f"{shard.path}: {error.message}") from None


class ShardRow(NamedTuple):
    """The place of an encoded picture or sound in a shard, which is read alone, or in blocks of the shard."""

    shard: Shard
    offset: int
    length: int
    blocks: Blocks | MaybeNone = None

    def read(self) -> bytes:
        """Returns the content. Raises `OSError` if it cannot be read in full."""
        read = _bytes_of if self.blocks is None else self.blocks.read
        content = read(self.shard, self.offset, self.length)
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
        blocks: Blocks in which rows near each other are read, or None to read each row alone.
    """

    dtype = np.dtype(object)
    ndim = 1

    def __init__(
        self, shards: tuple[Shard, ...], number: np.ndarray, offset: np.ndarray, length: np.ndarray,
        blocks: Blocks | None = None,
    ):  # fmt: skip
        self.shards, self.number, self.offset, self.length = shards, number, offset, length
        self.blocks = blocks

    def in_blocks(self, window: int) -> "ShardColumn":
        """Returns the rows, read in blocks that stay in memory for a shuffle within a window.

        Args:
            window: Number of rows among which rows are shuffled.
        """
        row = float(self.length.mean()) if len(self) else 0.0
        room = int(2 * window * row) + 3 * STREAMS * BLOCK_BYTES
        return ShardColumn(self.shards, self.number, self.offset, self.length, Blocks(room))

    @staticmethod
    def joined(columns: "list[ShardColumn]") -> "ShardColumn":
        """Returns the rows of several columns after one another."""
        begins = np.cumsum([0, *(len(one.shards) for one in columns)])
        numbers = [one.number + begin for one, begin in zip(columns, begins, strict=False)]
        offset, length = (
            np.concatenate([getattr(one, part) for one in columns]) for part in ("offset", "length")
        )
        shards = tuple(shard for one in columns for shard in one.shards)
        return ShardColumn(shards, np.concatenate(numbers), offset, length, columns[0].blocks)

    @property
    def shape(self) -> tuple[int]:
        """Number of rows, as a tuple."""
        return (len(self),)

    def __len__(self) -> int:
        return len(self.number)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int | np.integer):
            shard = self.shards[self.number[index]]
            return ShardRow(shard, int(self.offset[index]), int(self.length[index]), self.blocks)
        number, offset, length = (part[index] for part in (self.number, self.offset, self.length))
        return ShardColumn(self.shards, number, offset, length, self.blocks)

    def __iter__(self) -> Iterator[ShardRow]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        rows = np.empty(len(self), object)
        rows[:] = [*self, None][:-1]  # a list of tuples would become a second axis
        return rows

"""The order of the rows in each epoch of a training: a pure function of seed and epoch.

A full shuffle draws from all rows. It needs random access, which costs nothing in memory and little on a
local disk. Where one read takes long (a bucket), rows in shards have an order whose reads are sequential:

1. The shards are shuffled. Their rows, in the order in which they lie in the shards, are one long sequence,
   which is rotated by a random number of rows.
2. The sequence is cut into `STREAMS` pieces of equal length, and each batch takes equally many rows from each
   piece. Worker i of n needs only its n-th of each batch, and thus only its own pieces.
3. Within a piece, each row moves by at most its share of the window.
"""

import functools
import threading
from typing import Protocol

import numpy as np

from tlkeras.data.rows import Rows
from tlkeras.data.shard_column import STREAMS

# The batches of neighbouring epochs, and of several domains, are made at the same time.
_KEPT_EPOCHS, _KEPT_EPOCHS_OF_SHARDS = 8, 2
# Threads that make batches ask for a new epoch together. One of them computes it.
_ONE_AT_A_TIME = threading.Lock()


class Order(Protocol):
    """The order of rows in each epoch."""

    def __len__(self) -> int:
        """Returns the number of rows."""
        ...

    def epoch(self, seed: int, epoch: int, batch_size: int) -> np.ndarray:
        """Returns the indices of all rows in their order, integers `(n,)`."""
        ...


class FullShuffle:
    """A permutation of all rows.

    Args:
        count: Number of rows.
    """

    def __init__(self, count: int):
        self._count = count

    def __len__(self) -> int:
        return self._count

    def epoch(self, seed: int, epoch: int, batch_size: int) -> np.ndarray:
        """Returns the indices of all rows in their order; see `epoch_order`."""
        return epoch_order(self._count, seed, epoch)


class ShuffleOfShards:
    """A shuffle of shards and of the rows in a window.

    Args:
        shard: Number of the shard of each row, integers `(n,)`.
        offset: Place of each row in its shard, integers `(n,)`.
        window: Number of rows among which rows are shuffled.
    """

    def __init__(self, shard: np.ndarray, offset: np.ndarray, window: int):
        self._window = window
        rows = np.lexsort((offset, shard))
        bounds = np.flatnonzero(np.diff(np.asarray(shard)[rows])) + 1
        self._shards = np.split(rows.astype(np.uint32 if len(rows) < 2**32 else np.int64), bounds)
        self._count = len(rows)
        self._kept = functools.lru_cache(maxsize=_KEPT_EPOCHS_OF_SHARDS)(self._epoch)

    def __len__(self) -> int:
        return self._count

    def epoch(self, seed: int, epoch: int, batch_size: int) -> np.ndarray:
        """Returns the indices of all rows in their order, of which an incomplete last batch is no part."""
        with _ONE_AT_A_TIME:
            return self._kept(seed, epoch, batch_size)

    def _epoch(self, seed: int, epoch: int, batch_size: int) -> np.ndarray:
        rng = np.random.default_rng([seed, epoch])
        sequence = np.concatenate([self._shards[i] for i in rng.permutation(len(self._shards))])
        sequence = np.roll(sequence, rng.integers(self._count))
        steps, streams = self._count // batch_size, streams_of(batch_size)
        pieces = sequence[: steps * batch_size].reshape(streams, -1)
        width = max(self._window // streams, 1)
        places = np.arange(pieces.shape[1]) + width * rng.random(pieces.shape)
        mixed = np.take_along_axis(pieces, places.argsort(axis=1, kind="stable"), axis=1)
        mixed = mixed.reshape(streams, steps, batch_size // streams).swapaxes(0, 1).reshape(-1)
        order = np.concatenate([mixed, sequence[steps * batch_size :]])
        order.setflags(write=False)
        return order


def streams_of(batch_size: int) -> int:
    """Returns the number of pieces from which each batch takes equally many rows: a power of two."""
    return max(streams for streams in (2**k for k in range(STREAMS.bit_length())) if not batch_size % streams)


def order_of(rows: Rows | int) -> Order:
    """Returns the order of rows, or of as many rows that are shuffled in full.

    Args:
        rows: Training rows, or their number.
    """
    if isinstance(rows, int):
        return FullShuffle(rows)
    if rows.window is None:
        return FullShuffle(len(rows))
    if "order" not in rows.__dict__:
        rows.__dict__["order"] = ShuffleOfShards(rows.inputs.number, rows.inputs.offset, rows.window)
    return rows.__dict__["order"]


def epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    """Returns the order of the rows in an epoch, integers `(count,)`. It depends only on the arguments.

    Args:
        count: Number of rows.
        seed: Seed of the stage.
        epoch: Number of the epoch, from 0.
    """
    with _ONE_AT_A_TIME:
        return _epoch_order(count, seed, epoch)


@functools.lru_cache(maxsize=_KEPT_EPOCHS)
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(count)
    order = order.astype(np.uint32 if count < 2**32 else np.int64)  # several epochs are kept
    order.setflags(write=False)
    return order


def rows_of_step(rows: Rows | Order | int, seed: int, step: int, batch_size: int) -> tuple[int, np.ndarray]:
    """Returns the epoch of a step and the indices of its rows. An incomplete last batch is dropped.

    Args:
        rows: Training rows, their order, or the number of rows that are shuffled in full.
        seed: Seed of the stage.
        step: Number of the step, from 0.
        batch_size: Number of rows per step.
    """
    order = order_of(rows) if isinstance(rows, Rows | int) else rows
    epoch, batch = divmod(int(step), len(order) // batch_size)
    indices = order.epoch(seed, epoch, batch_size)
    return epoch, indices[batch * batch_size : (batch + 1) * batch_size].astype(np.int64)

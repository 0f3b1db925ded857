"""Decoded images and sounds in memory, so that each is decoded and resized only once."""

import threading
import weakref

import numpy as np

from tlkeras.data.rows import Rows

_stores: "weakref.WeakKeyDictionary[Rows, dict]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class PixelStore:
    """The decoded images or sounds of some rows. One is stored when it is read for the first time.

    Args:
        count: Number of rows.
        shape: Shape of one image, `(height, width, 3)`, or of one sound, `(samples,)`.
        dtype: Dtype of the values: `uint8` for most images, `float32` for sounds and images of floats.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: np.dtype):
        # Pages of an empty array take no memory until they are written.
        self.pixels = np.empty((count, *shape), dtype)
        self.filled = np.zeros(count, bool)

    @property
    def is_full(self) -> bool:
        """Whether all rows are stored."""
        return bool(self.filled.all())

    def has(self, indices: np.ndarray) -> np.bool_:
        """Whether all of these rows are stored."""
        return self.filled[indices].all()

    def get(self, indices: np.ndarray) -> np.ndarray:
        """Returns the values of rows, `(b, *shape)`."""
        return self.pixels[indices]

    def put(self, indices: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Stores the values of rows and returns them."""
        # Two threads may write one row. They write the same bytes, and the flag is set last.
        self.pixels[indices] = pixels
        self.filled[indices] = True
        return pixels

    def put_from(self, other: "PixelStore", positions: np.ndarray) -> None:
        """Copies what another store has of these rows, which stand at `positions` there."""
        places = np.arange(len(other.filled))[positions]  # positions may be a mask
        known = other.filled[places]
        # row by row, because all of them at once would be a copy outside the budget
        for row in np.flatnonzero(known):
            self.pixels[row] = other.pixels[places[row]]
        self.filled |= known


def pixel_store(
    rows: Rows, shape: tuple[int, ...], spec: tuple, dtype: np.dtype, memory_mb: int
) -> PixelStore | None:
    """Returns the store of these rows for one way of reading, or None if it does not fit into memory.

    All stores of the process share the budget of `memory_mb`. A store lives as long as its rows. Rows that
    were taken from a table begin with what is stored of it.

    Args:
        rows: Rows to store.
        shape: Shape of one decoded row.
        spec: Settings of the reading, which identify the store.
        dtype: Dtype of the stored values.
        memory_mb: Budget in MiB.
    """
    with _lock:
        own = _stores.setdefault(rows, {})
        if spec not in own:
            taken = sum(s.pixels.nbytes for stores in _stores.values() for s in stores.values())
            needed = len(rows) * int(np.prod(shape)) * dtype.itemsize
            if taken + needed > memory_mb * 2**20:
                return None
            own[spec] = PixelStore(len(rows), shape, dtype)
            table, positions = rows.taken_from or (lambda: None, None)
            if (whole := table()) is not None and spec in _stores.get(whole, {}):
                own[spec].put_from(_stores[whole][spec], positions)
        return own[spec]

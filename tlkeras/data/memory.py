"""Decoded images kept in memory, so that each is decoded and resized once."""

import threading
import weakref

import numpy as np

from tlkeras.data.rows import Rows

_stores: "weakref.WeakKeyDictionary[Rows, dict]" = weakref.WeakKeyDictionary()
_lock = threading.Lock()


class PixelStore:
    """The decoded, resized images of some rows, filled as they are first visited.

    Args:
        count: Number of rows.
        shape: `(height, width, 3)`.
        dtype: `uint8`, or `float32` where the images came as floats.
    """

    def __init__(self, count: int, shape: tuple[int, ...], dtype: np.dtype):
        # Untouched pages of an empty array take no memory.
        self.pixels = np.empty((count, *shape), dtype)
        self.filled = np.zeros(count, bool)

    def has(self, indices: np.ndarray) -> np.bool_:
        """Whether every one of these rows is there."""
        return self.filled[indices].all()

    def get(self, indices: np.ndarray) -> np.ndarray:
        """Returns the rows' pixels `(b, height, width, 3)`."""
        return self.pixels[indices]

    def put(self, indices: np.ndarray, pixels: np.ndarray) -> np.ndarray:
        """Keeps the rows' pixels and returns them."""
        # Two threads may fill one row: they write the same bytes, and the flag comes last.
        self.pixels[indices] = pixels
        self.filled[indices] = True
        return pixels


def pixel_store(rows: Rows, shape: tuple[int, ...], spec: tuple, memory_mb: int) -> PixelStore | None:
    """Returns the store of these rows under this spec of resizing, or None where it does not fit.

    All stores of the process share the budget of `memory_mb` MiB; one lives as long as its rows.
    """
    dtype = rows.inputs.dtype if rows.kind == "images" else np.dtype(np.uint8)
    with _lock:
        own = _stores.setdefault(rows, {})
        if spec not in own:
            taken = sum(s.pixels.nbytes for stores in _stores.values() for s in stores.values())
            needed = len(rows) * int(np.prod(shape)) * dtype.itemsize
            if taken + needed > memory_mb * 2**20:
                return None
            own[spec] = PixelStore(len(rows), shape, dtype)
        return own[spec]

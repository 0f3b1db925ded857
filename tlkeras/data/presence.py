"""Whether a picture or a sound of a row is there. A model takes one of zeros as missing."""

import functools
import io
from collections.abc import Iterable

import numpy as np

from tlkeras.data.shown_sounds import wav
from tlkeras.data.sound_files import as_floats
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")

# One sample or pixel of a part that is there, but consists of zeros. No network sees it: its power is zero in
# float32, and it vanishes beside the values that pixels are scaled to.
FAINT = np.float32(1e-30)


@functools.cache
def missing_file(part: str) -> bytes:
    """Returns what stands for the missing picture or sound of a row, as the content of a file.

    Args:
        part: `image` or `sound`.
    """
    return _black_picture() if part == "image" else wav(np.zeros(1, np.float32), 8000)


def files_there(items: Iterable, part: str) -> np.ndarray:
    """Returns which pictures or sounds are there, bool `(n,)`.

    Args:
        items: Paths, contents of files, objects that read them, or windows of sounds.
        part: `image` or `sound`.
    """
    missing = missing_file(part)
    return np.array([getattr(one, "item", one) != missing for one in items], bool)


def marked_samples(samples: np.ndarray) -> np.ndarray:
    """Returns sounds that are there `(n, samples)`, in which silent ones have a faint sample.

    Args:
        samples: Sounds in an array, int16 or float32. They become float32 if one is silent.
    """
    silent = ~samples.any(axis=1)
    if not silent.any():
        return samples
    marked = as_floats(samples)
    marked[silent, 0] = FAINT
    return marked


def _black_picture() -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()

"""Whether a picture or a sound of a row is there. A model takes one of zeros as missing."""

import functools
from collections.abc import Iterable

import numpy as np

from tlkeras.data.shown_sounds import wav
from tlkeras.data.sound_files import as_floats

# A PNG file of one pixel. It is not encoded anew, because each version of an encoder may give other bytes.
_BLACK_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
    "0000000c49444154789c63606060000000040001f61738550000000049454e44ae426082"
)

# All samples or pixels of a part that is there, but consists of zeros. No network sees it: its power is zero
# in float32, and it vanishes beside the values that pixels are scaled to. All have the same value, because a
# change such as more contrast would make a difference between them visible.
FAINT = np.float32(1e-30)


@functools.cache
def missing_file(part: str) -> bytes:
    """Returns what stands for the missing picture or sound of a row, as the content of a file.

    Args:
        part: `image` or `sound`.
    """
    return _BLACK_PICTURE if part == "image" else wav(np.zeros(1, np.float32), 8000)


def files_there(items: Iterable, part: str) -> np.ndarray:
    """Returns which pictures or sounds are there, bool `(n,)`.

    Args:
        items: Paths, contents of files, objects that read them, or windows of sounds.
        part: `image` or `sound`.
    """
    missing = missing_file(part)
    return np.array([getattr(one, "item", one) != missing for one in items], bool)


def marked(values: np.ndarray) -> np.ndarray:
    """Returns pictures or sounds that are there `(n, ...)`, in which black or silent ones are faint.

    Args:
        values: Pixels, uint8 or float32, or samples, int16 or float32. They become float32 if one is black or
            silent.
    """
    zeros = ~values.any(axis=tuple(range(1, values.ndim)))
    if not zeros.any():
        return values
    found = as_floats(values)
    found[zeros] = FAINT
    return found

"""The file of an embedding. It is read without Keras and without the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_TEXTS = ("domain_names", "class_names", "ids")


def read_embedding(path: Path) -> dict[str, Any]:
    """Returns the arrays that `write_embedding` wrote. Names and ids are lists of text."""
    with np.load(path, allow_pickle=False) as arrays:
        found: dict[str, Any] = dict(arrays)
    for key in _TEXTS:
        found[key] = found[key].tobytes().decode("utf-8", "surrogateescape").split("\0")
    return found


def as_bytes(texts: Iterable[str]) -> np.ndarray:
    """Returns texts as UTF-8, separated by NUL. Fixed-width arrays would remove trailing NULs."""
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)

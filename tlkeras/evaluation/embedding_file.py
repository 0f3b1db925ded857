"""The `.npz` of examples in a feature space; reading it needs neither Keras nor the data."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

_TEXTS = ("domain_names", "class_names", "ids")


def read_embedding(path: Path) -> dict[str, Any]:
    """Returns what `write_embedding` wrote; names and ids as lists of text."""
    with np.load(path, allow_pickle=False) as arrays:
        found: dict[str, Any] = dict(arrays)
    for key in _TEXTS:
        found[key] = found[key].tobytes().decode("utf-8", "surrogateescape").split("\0")
    return found


def as_bytes(texts: Iterable[str]) -> np.ndarray:
    """Returns texts as UTF-8 with a NUL between them; fixed-width arrays would cut trailing NULs off."""
    return np.frombuffer("\0".join(texts).encode("utf-8", "surrogateescape"), np.uint8)

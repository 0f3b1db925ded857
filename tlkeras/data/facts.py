"""Facts about the files of a domain as columns, found by one pass over all files."""

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras.data.fact_store import FactStore
from tlkeras.data.text_column import TextColumn

# The number of files that one call of a thread looks at. A waiting call takes 1.5 kB.
_BLOCK = 32
DIGEST = "V32"
NO_DIGEST = b"\0" * 32


@dataclass(frozen=True, eq=False)
class Facts:
    """Facts about rows.

    Attributes:
        table: Facts about each row, a structured array `(n,)`. Its columns are at least `size`, the size of
            the file in bytes, and `digest`, the sha256 digest of its content.
        reasons: Reasons why rows cannot be read, by their numbers. Rows that can be read have none.
    """

    table: np.ndarray
    reasons: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, column: str) -> np.ndarray:
        return self.table[column]

    @property
    def digests(self) -> np.ndarray:
        """The sha256 digests, uint8 `(n, 32)`."""
        return np.ascontiguousarray(self.table["digest"]).view(np.uint8).reshape(-1, 32)

    @property
    def readable(self) -> np.ndarray:
        """Which rows can be read, bool `(n,)`."""
        mask = np.ones(len(self), bool)
        mask[list(self.reasons)] = False
        return mask

    def take(self, indices: np.ndarray) -> "Facts":
        """Returns the facts of some rows.

        Args:
            indices: Indices, integers `(m,)`, or a mask, bool `(n,)`.
        """
        if not self.reasons:
            return Facts(self.table[indices], {})
        chosen = np.arange(len(self), dtype=np.int32)[indices]
        bad = np.flatnonzero(np.isin(chosen, list(self.reasons)))
        return Facts(self.table[indices], {int(i): self.reasons[int(chosen[i])] for i in bad})


def facts_of(
    inputs: Any,
    look: Callable[[Any], tuple[tuple, str]],
    dtype: np.dtype,
    store: FactStore | None = None,
) -> Facts:
    """Looks at every file or encoded input once, in parallel.

    A file that several rows name is looked at once. One whose facts are kept is not looked at. Processes with
    the same files and the same store divide the others.

    Args:
        inputs: Paths (`str`), contents (`bytes`), or objects whose `read()` returns the content, `(n,)`.
        look: Function of one input, which returns the values of `dtype` and the reason why the input cannot
            be read, or an empty text.
        dtype: Columns of the facts.
        store: Store of the facts of readable files, or None.

    Returns:
        The facts, in the order of the inputs.
    """
    if isinstance(inputs, TextColumn):
        files, numbers = inputs.once()
        if len(files) < len(inputs):
            found = facts_of(files, look, dtype, store)
            return found.take(numbers)
    table, reasons = np.zeros(len(inputs), dtype), {}

    def look_at(rows: np.ndarray) -> None:
        for row in rows:
            values, reason = look(inputs[row])
            table[row] = values
            if reason:
                reasons[int(row)] = reason

    with ThreadPoolExecutor(max_workers=min(16, 2 * (os.cpu_count() or 1))) as pool:

        def look_at_all(rows: np.ndarray) -> np.ndarray:
            for _ in pool.map(look_at, (rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK))):
                pass
            return np.setdiff1d(rows, list(reasons))

        known = None if store is None else store.open(inputs, pool)
        if known is None:
            look_at_all(np.arange(len(inputs)))
        else:
            known.complete(table, look_at_all)
    return Facts(table, dict(sorted(reasons.items())))

"""One split as a table with random access."""

import hashlib
import weakref
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.lib.recfunctions import repack_fields

from tlkeras.data.facts import Facts
from tlkeras.data.scan import scan
from tlkeras.data.text_column import TextColumn, as_text_column
from tlkeras.errors import UserError
from tlkeras.maybe import MaybeNone

_BLOCK = 10_000


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of one split, in a fixed order.

    Two tables are equal only if they are the same object. Decoded images can thus be stored per table. Arrays
    of texts (paths, ids, groups) become columns with one buffer, which the tables of several splits share.

    Args:
        inputs: Inputs in one of these forms: an object array `(n,)` of file paths (`str`), of encoded images
            (`bytes`), or of objects whose `read()` returns an encoded image; a `uint8` or `float32` array of
            images `(n, h, w)` or `(n, h, w, c)` with values in 0..255; a `float32` array of vectors
            `(n, d)`; a structured array `(n,)` of several named columns
            (`tlkeras.data.input_shapes.columns`), of which one may hold paths or encoded images; any other
            form that the domain's modality reads.
        labels: Class indices `int32` `(n,)` (multiclass, binary); zeros and ones `float32` `(n, k)`
            (multilabel); values `float32` `(n, k)` (regression); None without labels.
        ids: Names of the rows, `str` `(n,)`: the path of the file relative to the data source, or `row:17`.
        groups: Names of the groups, `str` `(n,)`, or None. The rows of one group are in the same split.
        scan: Function `(inputs, full=False)` that reads all files once and returns facts about each.
        originals: Data from which the inputs were made, object `(n, ...)`, e.g. the texts of token ids. None
            if the inputs are those of the source.
        weights: Factors of the class loss of the rows, float32 `(n,)`, at least 0. None weights all alike.
        window: Number of rows among which rows in shards are shuffled, so that they are read in sequence.
            None shuffles all rows; see `tlkeras.data.orders`.
    """

    inputs: Any
    labels: Any
    ids: Any
    groups: Any = None
    scan: Callable[..., Facts] = scan
    originals: np.ndarray | None = None
    weights: np.ndarray | None = None
    window: int | None = None

    def __post_init__(self):
        inputs = as_text_column(self.inputs)
        ids = inputs if self.ids is self.inputs else as_text_column(self.ids)
        for name, column in (("inputs", inputs), ("ids", ids), ("groups", as_text_column(self.groups))):
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, indices: np.ndarray) -> "Rows":
        """Returns the rows at `indices` (integers or a boolean mask), in that order.

        Args:
            indices: Indices, integers `(m,)`, or a mask, bool `(n,)`.
        """
        taken = replace(
            self,
            inputs=self.inputs[indices],
            labels=None if self.labels is None else self.labels[indices],
            ids=self.ids[indices],
            groups=None if self.groups is None else self.groups[indices],
            originals=None if self.originals is None else self.originals[indices],
            weights=None if self.weights is None else self.weights[indices],
        )
        if len(taken) <= _BLOCK:  # the places of many rows would take memory
            taken.__dict__["taken_from"] = (
                weakref.ref(self),
                np.array(indices),
            )  # the caller may change its array
        if self.__dict__.get("facts") is not None:
            taken.__dict__["facts"] = self.facts.take(indices)
        return taken

    def spread(self, count: int) -> "Rows":
        """Returns at most `count` evenly spaced rows, so that a sorted table keeps all classes.

        Args:
            count: Largest number of rows, at least 1.
        """
        return self.take(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).astype(int)))

    @property
    def taken_from(self) -> tuple[weakref.ref, np.ndarray] | MaybeNone:
        """The table from which `take` took these rows, if they are few, and their places, integers `(n,)`."""
        return self.__dict__.get("taken_from")

    @property
    def kind(self) -> str:
        """Form of `inputs`: `"files"`, `"bytes"`, `"images"`, `"vectors"` or `"columns"`."""
        if self.inputs.dtype.names:
            return "columns"
        if self.inputs.dtype == object:
            return "bytes" if len(self.inputs) and isinstance(self.inputs[0], bytes) else "files"
        return "vectors" if self.inputs.ndim == 2 else "images"

    @property
    def encoded(self) -> np.ndarray | None:
        """Paths or contents of the images `(n,)`, which may be a column of several. None for arrays."""
        if self.kind in ("files", "bytes"):
            return self.inputs
        objects = [name for name in self.inputs.dtype.names or () if self.inputs.dtype[name].hasobject]
        return self.inputs[objects[0]] if objects else None

    def part(self, *names: str) -> "Rows":
        """Returns the rows with one of their columns as an array, or with several columns.

        Args:
            *names: Names of columns.
        """
        parts = self.__dict__.setdefault("parts", {})  # kept, because readers hold weak references
        if names not in parts:
            # packed, since the rows of a view would keep the bytes of the other columns
            inputs = self.inputs[names[0]] if len(names) == 1 else repack_fields(self.inputs[list(names)])
            parts[names] = replace(self, inputs=inputs)
            if self.__dict__.get("facts") is not None and parts[names].encoded is not None:
                parts[names].__dict__["facts"] = self.facts
        return parts[names]

    @property
    def without_objects(self) -> "Rows":
        """The rows of several columns without the column of paths or encoded pictures."""
        types = self.inputs.dtype
        return self.part(*(name for name in types.names or () if not types[name].hasobject))

    @cached_property
    def facts(self) -> Facts | MaybeNone:
        """Facts about every file: its size and digest, why it cannot be read, and those of its kind.

        They are computed at the first use, by one pass over all files. None for arrays.
        """
        return None if self.encoded is None else self.scan(self.encoded)

    @cached_property
    def digests(self) -> np.ndarray:
        """The sha256 digests of the contents of the rows, uint8 `(n, 32)`."""
        if self.kind in ("files", "bytes"):
            return self.facts.digests
        if self.encoded is not None:
            both = np.concatenate([self.facts.digests, self.without_objects.digests], axis=1)
            return _digests(both)
        return _digests(np.ascontiguousarray(self.inputs))

    def fingerprint(self) -> str:
        """Returns the hexadecimal sha256 digest of ids, labels and contents in their order."""
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for begin in range(0, len(self), _BLOCK):
            digest.update(("\0" * (begin > 0) + "\0".join(self.ids[begin : begin + _BLOCK])).encode())
        if self.labels is not None:
            digest.update(f"{self.labels.dtype}{self.labels.shape}".encode())
            digest.update(np.ascontiguousarray(self.labels).tobytes())
        if self.weights is not None:
            digest.update(b"weights" + np.ascontiguousarray(self.weights).tobytes())
        # Equal images give equal digests, whether they are files or bytes.
        digest.update(f"{self.inputs.dtype}{self.inputs.shape[1:]}".encode())
        digest.update(np.ascontiguousarray(self.digests).data)
        return digest.hexdigest()


def _digests(rows: np.ndarray) -> np.ndarray:
    """Returns the sha256 digest of each row, uint8 `(n, 32)`."""
    found = bytearray()
    for row in rows:
        found += hashlib.sha256(row.tobytes()).digest()
    return np.frombuffer(bytes(found), np.uint8).reshape(-1, 32)


def checked_weights(values: object, where: str, places: Any = None) -> np.ndarray:
    """Returns the weights of rows, float32 `(n,)`.

    Args:
        values: Numbers or texts, one per row.
        where: Name of the data in messages.
        places: Names of the rows in messages, or None for `row 0`, `row 1`, ...

    Raises:
        UserError: A weight is no number, not finite or negative, or all are 0. The message names the row.
    """
    texts = np.asarray(values, object)
    if texts.ndim != 1:
        raise UserError(f"{where}: weights are one number per row. Received: shape {texts.shape}")
    weights = np.full(len(texts), np.nan, np.float32)
    for row, text in enumerate(texts):
        try:
            weights[row] = text
        except (ValueError, TypeError):
            continue  # reported below
    wrong = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if len(wrong):
        place = f"row {wrong[0]}" if places is None else places[wrong[0]]
        raise UserError(
            f"{where}, {place}: a weight must be a finite number of at least 0. Received: {texts[wrong[0]]!r}"
            + (f", and {len(wrong) - 1} more such rows" if len(wrong) > 1 else "")
        )
    if len(weights) and not weights.any():
        raise UserError(f"{where}: at least one row needs a weight above 0. Received: {len(weights)} zeros")
    return weights


def note_on_weights(rows: Rows) -> str:
    """Returns a note about the weights of training rows, or an empty string if they have none."""
    if rows.weights is None:
        return ""
    return (
        f"The class loss of {len(rows)} training rows is weighted by {rows.weights.min():g} to "
        f"{rows.weights.max():g}. Metrics of validation and test rows are not weighted."
    )


def row_ids(count: int, prefix: str = "row") -> TextColumn:
    """Returns ids for rows without names: `row:0`, `row:1`, ...

    Args:
        count: Number of rows.
        prefix: Text before the colon.
    """
    return TextColumn.of(str(i) for i in range(count)).prefixed(f"{prefix}:")

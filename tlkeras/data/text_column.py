"""A column of texts in one buffer, such as paths, ids or groups: far smaller than objects."""

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, overload

import numpy as np

# So many different texts are recognised when they come again, and are then stored once.
_RECOGNISED = 2**15
_CODE = ("utf-8", "surrogatepass")  # names of files need not be valid UTF-8


class TextColumn:
    """Texts `(n,)`, which can be used like a NumPy array of objects that is never written to.

    An integer index returns a text. A slice, a mask or an array of indices returns a column that shares the
    buffer. `np.asarray` returns an object array.

    Args:
        content: All different texts after one another, encoded.
        bounds: Begin of each text in `content` and the end of the last one, integers `(m + 1,)`.
        places: Number of each row's text, int32 `(n,)`.
        prefix: Text before every text.
    """

    dtype = np.dtype(object)
    ndim = 1
    __hash__ = None  # type: ignore[assignment]  # as `==` compares row by row

    def __init__(self, content: bytes, bounds: np.ndarray, places: np.ndarray, prefix: str = ""):
        self.content, self.bounds, self.places, self.prefix = content, bounds, places, prefix

    @classmethod
    def of(cls, texts: Iterable) -> "TextColumn":
        """Returns a column of these texts. Other values are converted by `str`."""
        if isinstance(texts, cls):
            return texts
        builder = TextColumnBuilder()
        for text in texts:
            builder.append(str(text))
        return builder.column()

    def prefixed(self, prefix: str) -> "TextColumn":
        """Returns a column of the same texts, without a copy of them, after a common beginning.

        Args:
            prefix: Text that is put before every text.
        """
        return TextColumn(self.content, self.bounds, self.places, prefix + self.prefix)

    def lengths(self) -> np.ndarray:
        """Returns the length of each text in bytes, without the prefix, int64 `(n,)`."""
        return np.diff(self.bounds).astype(np.int64)[self.places]

    def once(self) -> tuple["TextColumn", np.ndarray]:
        """Returns the texts in which each place of the buffer comes once, and the number of each row in them.

        They are in the order in which they first come. Equal texts at several places are not merged.
        """
        places, first, rows = np.unique(self.places, return_index=True, return_inverse=True)
        order = np.argsort(first)
        rank = np.empty(len(order), np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        return TextColumn(self.content, self.bounds, places[order], self.prefix), rank[rows]

    def distinct(self) -> tuple[list[str], np.ndarray]:
        """Returns the different texts in the order in which they first come, and the number of each row."""
        texts, rows = self.once()
        numbers: dict[str, int] = {}
        merged = np.array([numbers.setdefault(text, len(numbers)) for text in texts], np.int32)
        return list(numbers), merged[rows]

    @property
    def shape(self) -> tuple[int]:
        """Number of rows, as a tuple."""
        return (len(self),)

    @property
    def nbytes(self) -> int:
        """Size of the column in memory in bytes, with what it shares with others."""
        return len(self.content) + self.bounds.nbytes + self.places.nbytes

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int | np.integer) -> str: ...
    @overload
    def __getitem__(self, index: slice | np.ndarray | list) -> "TextColumn": ...
    def __getitem__(self, index):
        if isinstance(index, int | np.integer):
            return self._text(self.places[index])
        return TextColumn(self.content, self.bounds, self.places[index], self.prefix)

    def __iter__(self) -> Iterator[str]:
        return map(self._text, self.places)

    def _text(self, place: np.integer) -> str:
        begin, end = self.bounds[place], self.bounds[place + 1]
        return self.prefix + self.content[begin:end].decode(*_CODE)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        texts = np.empty(len(self), object)
        texts[:] = list(self)
        return texts if dtype is None else texts.astype(dtype)

    def astype(self, dtype: Any) -> np.ndarray:
        """Returns an array of this dtype."""
        return np.asarray(self).astype(dtype)

    def tolist(self) -> list[str]:
        """Returns a list of the texts."""
        return list(self)

    def __eq__(self, other: object) -> Any:
        return np.asarray(self) == (np.asarray(other) if isinstance(other, TextColumn) else other)

    def __repr__(self) -> str:
        return f"TextColumn({self[:3].tolist()}{'...' * (len(self) > 3)}, {len(self)} rows)"


class TextColumnBuilder:
    """A column of texts that grows by one text at a time."""

    def __init__(self):
        self._content, self._bounds, self._places = bytearray(), array("q", [0]), array("i")
        self._known: dict[str, int] = {}

    def append(self, text: str) -> None:
        """Appends a text to the column."""
        place = self._known.get(text)
        if place is None:
            place = len(self._bounds) - 1
            self._content += text.encode(*_CODE)
            self._bounds.append(len(self._content))
            if place < _RECOGNISED:
                self._known[text] = place
        self._places.append(place)

    def column(self) -> TextColumn:
        """Returns the column."""
        small = len(self._content) < 2**32
        bounds = np.array(self._bounds, np.uint32 if small else np.int64)
        return TextColumn(bytes(self._content), bounds, np.array(self._places, np.int32))


def joined_columns(columns: list[Any]) -> Any:
    """Returns the rows of several columns of one kind, texts or arrays `(n, ...)`, after one another."""
    first = columns[0]
    if not isinstance(first, TextColumn):
        return first.joined(columns) if hasattr(first, "joined") else np.concatenate(columns)
    if all(one.content is first.content and one.prefix == first.prefix for one in columns):
        places = np.concatenate([one.places for one in columns])
        return TextColumn(first.content, first.bounds, places, first.prefix)
    return TextColumn.of(text for column in columns for text in column)


def as_text_column(values: Any) -> Any:
    """Returns a one-dimensional array of texts as a column, and anything else unchanged."""
    if not isinstance(values, np.ndarray) or values.ndim != 1 or values.dtype.kind not in "OU":
        return values
    if values.dtype == object and not all(isinstance(text, str) for text in values):
        return values
    return TextColumn.of(values.tolist())

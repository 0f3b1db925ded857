"""What lies where in a shard, found by reading it once and kept in the cache directory."""

import contextlib
import hashlib
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlkeras.data.shard_column import Shard
from tlkeras.data.text_column import TextColumn, TextColumnBuilder
from tlkeras.errors import RunError, UserError
from tlkeras.run_dir import replacing

FOLDER = "shard_places"
LABEL, GROUP, WEIGHT, ARRAY = "label", "group", "weight", "array"
_SETTLED = 2 * 10**9  # as in `fact_store`
_NOWHERE = -1  # the offset of a row without a picture or sound


class Wanted(NamedTuple):
    """What is read from each row of shards besides its label and its group.

    Attributes:
        content: Whether rows have an encoded picture or sound, or an array of numbers.
        required: Whether each row must have one.
        texts: Names of columns that are read as texts: texts, cells of a table, weights.
    """

    content: bool = True
    required: bool = True
    texts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """The rows of one shard.

    Attributes:
        offset: First byte of each picture or sound, int64 `(n,)`, or -1 for a row without one.
        length: Number of its bytes, int64 `(n,)`.
        keys: Names of the rows in the shard.
        columns: Labels, groups and other columns of texts by name, empty where a row has none.
        array: Numbers of each row as they are stored, `(n, ...)`, or None if rows have none.
    """

    offset: np.ndarray
    length: np.ndarray
    keys: TextColumn
    columns: Mapping[str, TextColumn]
    array: np.ndarray | None = None

    @property
    def there(self) -> np.ndarray:
        """Which rows have a picture or sound, bool `(n,)`."""
        return self.offset != _NOWHERE


class PlacesBuilder:
    """Collects the rows of one shard.

    Args:
        wanted: What is read from each row.
        where: Name of the shard in messages.
    """

    def __init__(self, wanted: Wanted, where: str):
        self._where, self._places, self._arrays = where, [], []
        self._keys = TextColumnBuilder()
        self._columns = {name: TextColumnBuilder() for name in (LABEL, GROUP, *wanted.texts)}

    def append(
        self, key: str, place: tuple[int, int] | None, texts: Mapping[str, str | None],
        array: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        """Appends a row.

        Args:
            key: Name of the row in the shard.
            place: First byte and number of bytes of its picture or sound, or None without one.
            texts: Label, group and other columns by name. A missing one is empty.
            array: Numbers of the row, or None.
        """
        self._keys.append(key)
        self._places.append(place or (_NOWHERE, 0))
        for name, column in self._columns.items():
            column.append(texts.get(name) or "")
        if array is not None:
            self._arrays.append(array)

    def places(self) -> Places:
        """Returns the rows. Raises `UserError` if only some of them have numbers, or another form."""
        forms = {f"{one.dtype} {one.shape}" for one in self._arrays}
        if self._arrays and (len(forms) > 1 or len(self._arrays) < len(self._places)):
            received = " and ".join(sorted(forms))
            raise UserError(
                f"{self._where}: all rows must have numbers of one dtype and shape. "
                f"Received: {len(self._arrays)} of {len(self._places)} rows with {received}"
            )
        found = np.array(self._places, np.int64).reshape(-1, 2)
        columns = {name: column.column() for name, column in self._columns.items()}
        array = np.stack(self._arrays) if self._arrays else None
        return Places(found[:, 0], found[:, 1], self._keys.column(), columns, array)


@dataclass(frozen=True)
class ShardFormat:
    """One kind of shards.

    Attributes:
        name: Name of the data source.
        suffix: Pattern of the names of the files.
        places: Function of a shard and of what is wanted, which finds the rows. It raises `UserError` for a
            damaged shard.
        way: Settings that the places depend on.
    """

    name: str
    suffix: str
    places: Callable[[Shard, Wanted], Places]
    way: str = ""


def known_places(shard: Shard, wanted: Wanted, kept_in: Path | None, how: ShardFormat) -> Places:
    """Returns the rows of a shard, which an earlier process may have found.

    Shards of numbers alone are read at each start, since a copy of them would be as large.

    Args:
        shard: The shard.
        wanted: What is read from each row.
        kept_in: Cache directory, or None.
        how: Kind of the shard.
    """
    facts = repr((how.name, how.way, shard, *wanted))
    name = hashlib.blake2b(facts.encode(), digest_size=16).hexdigest()
    kept = None if kept_in is None else kept_in / FOLDER / f"{name}.npz"
    if kept is not None and kept.exists():
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return _read(kept)
    places = how.places(shard, wanted)
    if kept is not None and places.array is None and 0 < shard.time < time.time_ns() - _SETTLED:
        with contextlib.suppress(OSError, RunError, UserError):
            _write(kept, places)
    return places


def _write(path: Path, places: Places) -> None:
    texts: dict[str, Any] = {}
    for number, column in enumerate((places.keys, *places.columns.values())):
        texts[f"{number}_content"] = np.frombuffer(column.content, np.uint8)
        texts[f"{number}_bounds"], texts[f"{number}_places"] = column.bounds, column.places
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, offset=places.offset, length=places.length, names=np.array([*places.columns]), **texts)


def _read(path: Path) -> Places:
    with np.load(path, allow_pickle=False) as kept:
        keys, *columns = (
            TextColumn(kept[f"{n}_content"].tobytes(), kept[f"{n}_bounds"], kept[f"{n}_places"])
            for n in range(len(kept["names"]) + 1)
        )
        named = dict(zip(kept["names"].tolist(), columns, strict=True))
        return Places(kept["offset"], kept["length"], keys, named)

"""Rows that a user leaves out, which the CSV file of `data.exclude` names."""

import csv
import hashlib
import io
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tlkeras.data.rows import Rows
from tlkeras.errors import UserError, nearest

NAMED_BY = ("id", "file")  # columns that name a row; files of predictions have the second
CHOICE = "leave_out"
_YES, _NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0", "")
_SHOWN = 5


@dataclass(frozen=True)
class Exclusion:
    """The rows that a file leaves out.

    Attributes:
        file: Path of the CSV file, or None for no file.
        digest: SHA-256 of the file in hexadecimal digits.
        ids: Names of the rows, as in `Rows.ids`.
    """

    file: str | None = None
    digest: str = ""
    ids: frozenset[str] = field(default_factory=frozenset)

    def of(self, rows: Rows) -> np.ndarray:
        """Returns which rows are left out, bool `(n,)`."""
        if not self.ids:
            return np.zeros(len(rows), bool)
        return np.fromiter((str(name) in self.ids for name in rows.ids), bool, len(rows))

    def without(self, rows: Rows, split: str) -> Rows:
        """Returns the other rows of a split.

        Raises:
            UserError: No row is left, or no training row of a class.
        """
        out = self.of(rows)
        if not out.any():
            return rows
        if out.all():
            raise UserError(
                f"data.exclude leaves no row of {split}. Received: {out.sum()} rows in {self.file}"
            )
        kept = rows.take(~out)
        if split == "train" and (lost := _classes(rows) - _classes(kept)):
            example = rows.ids[np.flatnonzero(rows.labels == min(lost))[0]]
            raise UserError(
                "data.exclude leaves a class without training rows: keep one of its rows, or remove the "
                f"class. Received: {self.file} with all rows of the class of {example}"
            )
        return kept


NOTHING = Exclusion()


def read_exclusion(path: str | None, splits: Mapping[str, Rows], where: str) -> Exclusion:
    """Reads the CSV file of `data.exclude`.

    A column `id` (or `file`) names the rows as in files of predictions. If there is a column `leave_out`,
    only rows with `yes` are left out. Other columns are not read. A name that several rows share, such as a
    picture that a list names twice, leaves out all of them.

    Args:
        path: Path of the file, or None for no file.
        splits: All rows of the data source, before they are limited.
        where: Data source, for messages.

    Raises:
        UserError: The file cannot be read, or names a row that the data source does not have.
    """
    if path is None:
        return NOTHING
    file = Path(path).expanduser()
    content = _content(file)
    # as `write_text` writes names that are not valid UTF-8
    written = lambda name: name.encode("utf-8", "backslashreplace").decode()  # noqa: E731
    known = {written(str(name)): str(name) for rows in splits.values() for name in rows.ids}
    wanted = [_known_name(name, known) for name in _wanted(file, content)]
    if strange := [name for name in wanted if name not in known]:
        more = f" and {len(strange) - _SHOWN} more" if len(strange) > _SHOWN else ""
        raise UserError(
            f"data.exclude names rows that {where} does not have.{nearest(strange[0], known)} "
            f"Received: {', '.join(strange[:_SHOWN])}{more} in {file}"
        )
    return Exclusion(
        str(path), hashlib.sha256(content).hexdigest(), frozenset(known[name] for name in wanted)
    )


def _classes(rows: Rows) -> set[int]:
    """Returns the class numbers of rows with one class each, or nothing."""
    return set(rows.labels.tolist()) if rows.labels is not None and rows.labels.dtype.kind == "i" else set()


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(
            f"data.exclude cannot be read: {error.strerror or error}. Received: {str(file)!r}"
        ) from None


def _wanted(file: Path, content: bytes) -> Iterable[str]:
    """Yields the names of the rows that a file leaves out."""
    try:
        lines = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"data.exclude is no CSV file in UTF-8. Received: {file} ({error})") from None
    header = [name for name in (lines[0] if lines else ()) if name]
    column = next((name for name in NAMED_BY if name in header), None)
    if lines and column is None:
        raise UserError(
            f"data.exclude needs a column 'id' or 'file'.{nearest('id', header)} "
            f"Received: columns {', '.join(header)} in {file}"
        )
    for number, line in enumerate(lines, start=2):
        answer = (line.get(CHOICE, "yes") or "").strip().lower()
        if answer not in (*_YES, *_NO):
            raise UserError(f"{file}, line {number}: {CHOICE} must be yes or no. Received: {line[CHOICE]!r}")
        if answer in _YES:
            yield line[column] or ""


def _known_name(name: str, known: Collection[str]) -> str:
    """Returns a name without the apostrophe with which a CSV protects `=` and the like from a spreadsheet."""
    return name[1:] if name.startswith("'") and name not in known else name

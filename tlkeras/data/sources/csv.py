"""Images or texts with labels, listed in a CSV file."""

import csv
from collections.abc import Iterator
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.listed import FORM, OPTIONAL, check_columns, listed, shown
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a CSV file as `listed` describes it."""
    return listed(argument, config, "CSV", _lines)


def _lines(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        with open(file, newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened, strict=True)
            header = [name.strip() for name in reader.fieldnames or []]
            reader.fieldnames = header
            check_columns(file, columns, header)
            kept = [name for name in header if name in (*OPTIONAL, *columns)]
            for row in reader:
                yield _line(file, f"line {reader.line_num}", row, kept)
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text. Received: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise UserError(f"{file} is not a readable CSV file. Received: {error}") from None


def _line(file: Path, place: str, row: dict, kept: list[str]) -> dict[str, str]:
    if None in row or None in row.values():
        values = [v for value in row.values() for v in (value if isinstance(value, list) else [value])]
        fields = len(row) - (None in row)
        raise UserError(f"{file}, {place}: expected {fields} fields. Received: {shown(values)}")
    return {name: row[name].strip() for name in kept} | {"line": place}


SOURCE = Source("csv", "csv:FILE", FORM, load)

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
            reader = csv.reader(opened, strict=True)
            header = [name.strip() for name in next((row for row in reader if row), [])]
            check_columns(file, columns, header)
            kept = [place for place, name in enumerate(header) if name in (*OPTIONAL, *columns)]
            for values in filter(None, reader):
                place = f"line {reader.line_num}"
                if len(values) != len(header):
                    padded = values + [""] * (len(header) - len(values))
                    raise UserError(
                        f"{file}, {place}: expected {len(header)} fields. Received: {shown(padded)}"
                    )
                yield {header[i]: values[i].strip() for i in kept} | {"line": place}
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text. Received: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise UserError(f"{file} is not a readable CSV file. Received: {error}") from None


SOURCE = Source("csv", "csv:FILE", FORM, load)

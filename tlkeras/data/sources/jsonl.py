"""Images or texts with labels, one JSON object per line."""

import json
from collections.abc import Iterator
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.listed import FORM, OPTIONAL, check_columns, listed, shown, value_as_text
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a file with one JSON object per line. The keys are the columns that `listed` describes.

    The value of a label can be a list for several labels. Empty lines are skipped.
    """
    return listed(argument, config, "JSON lines", _lines)


def _lines(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 text. Received: {error.reason} at byte {error.start}") from None
    for number, text in enumerate(lines, 1):
        if text.strip():
            yield _line(file, f"line {number}", text, columns)


def _line(file: Path, place: str, text: str, columns: tuple[str, ...]) -> dict[str, str]:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}, {place} is not JSON ({error}). Received: {shown([text])}") from None
    if not isinstance(row, dict):
        raise UserError(f"{file}, {place} must be a JSON object. Received: {shown([text])}")
    try:
        check_columns(file, columns, list(row))
        kept = [name for name in row if name in (*OPTIONAL, *columns)]
        return {name: value_as_text(row[name]) for name in kept} | {"line": place}
    except (UserError, TypeError) as error:
        raise UserError(str(error).replace(str(file), f"{file}, {place}", 1)) from None


SOURCE = Source("jsonl", "jsonl:FILE", f"one JSON object per line: {FORM}", load)

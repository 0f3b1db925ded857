"""Texts from files, in one folder per class."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.file_kinds import TEXTS
from tlkeras.data.rows import Rows
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.folder import table_of_folder
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads `DIR/train/CLASS/*.txt` with optional `val` and `test`, or `DIR/CLASS/*.txt`, in UTF-8."""
    table = table_of_folder(argument, config, TEXTS)
    return replace(table, splits={split: _read(rows) for split, rows in table.splits.items()})


def _read(rows: Rows) -> Rows:
    return replace(rows, inputs=np.array([_text(path) for path in rows.inputs], object))


def _text(path: str) -> str:
    try:
        text = Path(path).read_text("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text. Received: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read. Received: {error.strerror}") from None
    if not text:
        raise UserError(f"{path} is empty, but a text needs at least one word. Received: 0 characters")
    return text


SOURCE = Source(
    "text_folder",
    "text_folder:DIR",
    "texts in DIR/train/CLASS/*.txt (optional val, test), or DIR/CLASS/*.txt",
    load,
    holds_texts=True,
)

"""Images or texts with labels from a Parquet file (the package pyarrow)."""

from collections.abc import Iterator
from pathlib import Path

from tlkeras.config.data import DataConfig
from tlkeras.data.sources.base import Source, Table
from tlkeras.data.sources.listed import FORM, OPTIONAL, check_columns, listed, value_as_text
from tlkeras.errors import UserError


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Reads a Parquet file with the columns that `listed` describes. The value of a label can be a list."""
    return listed(argument, config, "Parquet", _lines)


def _lines(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError(
            f"Parquet files need the package pyarrow: pip install pyarrow. Received: {file}"
        ) from None
    try:
        header = parquet.read_schema(file).names
        check_columns(file, columns, header)
        kept = [name for name in header if name in (*OPTIONAL, *columns)]
        rows = parquet.read_table(file, columns=kept).to_pylist()
    except (ArrowException, OSError) as error:
        raise UserError(f"{file} is not a readable Parquet file. Received: {error}") from None
    for number, row in enumerate(rows):
        yield {name: value_as_text(value) for name, value in row.items()} | {"line": f"row {number}"}


SOURCE = Source("parquet", "parquet:FILE", FORM, load)

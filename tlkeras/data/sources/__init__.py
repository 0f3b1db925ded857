"""Data sources: one module for each kind of source, and one registry of all of them."""

from tlkeras.data.sources import (
    arrays,
    csv,
    digits,
    emoji,
    folder,
    huggingface,
    jsonl,
    letters,
    mnist_m,
    npz,
    parquet,
    synthetic,
    text_folder,
    tfds,
    tfrecords,
    webdataset,
)
from tlkeras.data.sources.base import SOURCES, Source, Table, read_source

__all__ = ["SOURCES", "Source", "Table", "read_source"]

for _module in (
    folder,
    csv,
    jsonl,
    parquet,
    npz,
    text_folder,
    huggingface,
    tfds,
    tfrecords,
    webdataset,
    emoji,
    digits,
    letters,
    synthetic,
    mnist_m,
    arrays,
):
    SOURCES.add(_module.SOURCE.name, _module.SOURCE)

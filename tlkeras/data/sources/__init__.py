"""Where rows come from: one module per kind of source, one registry of them all."""

from tlkeras.data.sources import arrays, csv, digits, emoji, folder, mnist_m, npz, synthetic, tfds
from tlkeras.data.sources.base import SOURCES, Source, Table, read_source

__all__ = ["SOURCES", "Source", "Table", "read_source"]

for _module in (folder, csv, npz, tfds, emoji, digits, synthetic, mnist_m, arrays):
    SOURCES.add(_module.SOURCE.name, _module.SOURCE)

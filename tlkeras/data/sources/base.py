"""The table of rows that every data source returns, and the registry of data sources."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.modalities.base import Modality
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError, unknown
from tlkeras.registry import Registry

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Table:
    """The rows of a data source.

    Attributes:
        splits: Rows by the name of the split. Labels are in the form of the data source (names, integers,
            values). A split with the name `all` is divided into train, val and test.
        class_names: Class names in the order of integer labels, or None if the data source has none.
        final: Whether the splits are complete, so that no further split is taken out of train.
        white: Value of a white pixel in arrays before they were converted to 0..255: 1, 255 or 65535.
        modality: Modality of the rows, or its name. None means image for files, encoded images and arrays of
            pixels, and vector for arrays `(n, d)`.
        draw: Function from the keys of chosen rows, object or integer `(m,)`, to their inputs `(m, ...)`, if
            `Rows.inputs` holds only keys. It is called after limits and splits are applied.
    """

    splits: dict[str, Rows]
    class_names: tuple[str, ...] | None = None
    final: bool = False
    white: int = 255
    modality: str | Modality | None = None
    draw: Callable[[np.ndarray], np.ndarray] | None = None


@dataclass(frozen=True)
class Source:
    """One kind of data source.

    Attributes:
        name: Name before the colon in `data.source`.
        form: Form of the whole string, for help texts.
        about: Description in one line for `tlkeras list sources`.
        load: Function `(argument, config, seed) -> Table`. The argument is the text after the colon.
        names_splits: Whether `data.split_names` can choose its splits.
        holds_texts: Whether its rows are always texts, which need a tokenizer.
        keeps_places: Whether `load` also takes `kept_in`, the cache directory or None, in which it keeps
            where the rows lie.
    """

    name: str
    form: str
    about: str
    load: Callable[..., Table]
    names_splits: bool = True
    holds_texts: bool = False
    keeps_places: bool = False


SOURCES: Registry[Source] = Registry("source")
"""Kinds of data that `data.source` can name before its colon."""


def read_source(config: DataConfig, seed: int, kept_in: Path | None = None) -> Table:
    """Reads `config.source`. Raises `UserError` for an unknown kind or a mistake in its argument.

    Args:
        config: Config of the domain.
        seed: Seed of the experiment.
        kept_in: Cache directory, or None.
    """
    kind, colon, argument = config.source.partition(":")
    if not colon and kind not in SOURCES and Path(kind).expanduser().exists():
        raise UserError(
            "data.source must begin with its kind: folder:DIR, csv:FILE, npz:FILE. Did you mean "
            f"'{_kind_of(Path(kind).expanduser())}:{kind}'? Received: {kind!r}"
        )
    source = SOURCES.get(kind)
    if config.split_names and not source.names_splits:
        raise UserError(
            f"The source {kind!r} has no splits of its own to choose from. "
            f"Received: data.split_names={config.split_names}"
        )
    more = {"kept_in": kept_in} if source.keeps_places else {}
    return source.load(argument, config, seed, **more)


_KINDS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet", ".npz": "npz"}


def _kind_of(path: Path) -> str:
    """Returns the name of the data source that fits a path."""
    return _KINDS.get(path.suffix.lower(), "folder")


def options(
    source: str, argument: str, defaults: Mapping[str, float | int | str | tuple]
) -> tuple[str, dict]:
    """Splits `name?key=value&key=value` into the name and typed values.

    Args:
        source: Whole string of the config, for messages.
        argument: Text after the colon.
        defaults: Default values of all allowed keys. A given value is converted to the type of its default.

    Returns:
        The name and all options.
    """
    name, _, query = argument.partition("?")
    values = dict(defaults)
    for key, text in parse_qsl(query, keep_blank_values=True):
        if key not in defaults:
            raise unknown(f"option of {source!r}", key, defaults)
        try:
            if isinstance(defaults[key], tuple):
                values[key] = tuple(float(part) for part in text.split(","))
            else:
                values[key] = type(defaults[key])(text)
        except ValueError:
            kind = type(defaults[key]).__name__
            raise UserError(f"Option {key} of {source!r} must be a {kind}. Received: {key}={text}") from None
    return name, values


def check_splits(splits: Collection[str], where: str) -> None:
    """Raises `UserError` where a split has an unknown name, or none is to be trained on."""
    for split in splits:
        if split not in (*SPLITS, "all"):
            raise unknown(f"split of {where}", split, SPLITS)
    if "train" not in splits and "all" not in splits:
        raise UserError(
            f"{where} has no training rows. Received: splits {', '.join(map(str, splits)) or 'none'}"
        )

"""Rows in shards: large files that hold many rows, on a disk or on a bucket (`gs://`).

Each shard is read once to find where its pictures or sounds lie, and the places are kept in the cache
directory. From then on a picture is a part of a file. Texts, cells of tables and numbers are held in memory,
as those of any other source.
"""

import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.config.data import DataConfig
from tlkeras.data.array_form import check_numbers, inputs_of_source, training_range
from tlkeras.data.groups import check_groups, completed_groups, groups_of_list
from tlkeras.data.input_shapes import columns as joined
from tlkeras.data.modalities.several import FILES, several_name
from tlkeras.data.presence import missing_file
from tlkeras.data.rows import Rows, checked_weights
from tlkeras.data.shard_column import Shard, ShardColumn, opened
from tlkeras.data.shard_places import GROUP, LABEL, Places, ShardFormat, Wanted, known_places
from tlkeras.data.sources.base import Table
from tlkeras.data.sources.listed import parts_in_columns
from tlkeras.data.text_column import TextColumn, TextColumnBuilder, joined_columns
from tlkeras.errors import UserError, nearest
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")

CLASSES = "classes.txt"
UNFINISHED = "unfinished"  # stands beside shards that are still being written, or were not written to the end
TEXT = "text"  # the column of texts if the config names none
_SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
                "dev": "val", "test": "test"}  # fmt: skip
_TRAINING = ("train", "all")
_THREADS = 4
_SORTED = 0.9  # share of neighbouring rows of one class from which on shards count as sorted


def table_of_shards(argument: str, config: DataConfig, kept_in: Path | None, how: ShardFormat) -> Table:
    """Returns the rows of shards.

    A row has an encoded picture or sound, or numbers; or the columns of `data.text` and `data.columns`,
    beside `data.picture` or alone; and optionally a label, a group and the weight that `data.weights` names.

    Args:
        argument: A folder of shards, or a pattern of their names such as `DIR/train-*.tar`. A word `train`,
            `val` or `test` in the name of a shard, or of a folder above it, is its split.
        config: Config of the domain.
        kept_in: Cache directory in which the places of the rows are kept, or None.
        how: Kind of the shards.

    Raises:
        UserError: There are no shards, they are not complete, a shard is damaged, only some rows of a split
            have a label, or a group is in two splits.
    """
    root, files = _files(argument, how)
    splits: dict[str, list[str]] = {}
    for file in files:
        splits.setdefault(_split_of(_below(root, file), config), []).append(file)
    if "all" in splits and len(splits) > 1:
        raise UserError(
            f"{how.name}:{argument}: some shards have a split in their names and others have none. "
            f"Received: {splits['all'][0]}"
        )
    parts = _parts(config)
    texts = tuple(name for part, names in parts.items() if part not in FILES for name in names)
    texts += () if config.weights is None else (config.weights,)
    wanted = Wanted(any(part in FILES for part in parts), _alone(parts), texts)

    def find(file: str) -> tuple[Shard, Places]:
        shard = _shard(file)
        return shard, known_places(shard, wanted, kept_in, how)

    with ThreadPoolExecutor(_THREADS) as pool:
        found = {split: list(pool.map(find, names)) for split, names in splits.items()}
    tables = {split: _rows(root, found[split], config, parts, how, split in _TRAINING) for split in splits}
    grouped = {split: (rows.groups, rows.ids) for split, rows in tables.items() if rows.groups is not None}
    check_groups(f"{how.name}:{argument}", grouped, completed=True)
    names = _class_names(root)
    if names is not None and config.task in ("multiclass", "binary"):
        tables = {split: _numbered(rows, names, root) for split, rows in tables.items()}
    modality = several_name(parts) if len(parts) > 1 else "columns" if config.columns else None
    tables, white = _with_checked_numbers(tables, config, how) if _alone(parts) else (tables, 255)
    return Table(tables, names, white=white, modality=modality)


def _parts(config: DataConfig) -> dict[str, tuple[str, ...]]:
    """Returns the columns of each part of a row. A tokenizer alone reads the column `text`."""
    if config.tokenizer is not None and not (config.text or config.columns or config.picture):
        return {"text": (TEXT,)}
    return parts_in_columns(config)


def _alone(parts: dict[str, tuple[str, ...]]) -> bool:
    """Whether a row is a picture or a sound, and nothing else."""
    return len(parts) == 1 and set(parts) <= set(FILES)


def _files(argument: str, how: ShardFormat) -> tuple[str, list[str]]:
    """Returns the folder of the shards, and the shards in it, sorted."""
    path = argument if "://" in argument else os.path.expanduser(argument)
    is_pattern = any(sign in path for sign in "*?[")
    root = os.path.dirname(re.split(r"[*?\[]", path)[0]) if is_pattern else path
    try:
        if is_pattern:
            found = tf.io.gfile.glob(path)
        elif not tf.io.gfile.exists(path):
            raise UserError(f"data.source: no such folder. Received: {path!r}")
        elif tf.io.gfile.isdir(path):
            found = [f"{where}/{name}" for where, _, names in tf.io.gfile.walk(path) for name in names]
            found = [name.replace("//", "/") if "://" not in path else name for name in found]
        else:
            root, found = os.path.dirname(path), [path]
    except (tf.errors.OpError, OSError) as error:
        raise UserError(
            f"data.source: the shards cannot be listed ({_line(error)}). Received: {path!r}"
        ) from None
    shards = sorted(name for name in found if re.search(how.suffix, os.path.basename(name)))
    if not shards:
        raise UserError(
            f"data.source: there are no shards of {how.name}. Received: {path!r} with {len(found)} files"
        )
    for folder in sorted({os.path.dirname(shard) or "." for shard in shards}):
        if tf.io.gfile.exists(f"{folder}/{UNFINISHED}"):
            raise UserError(
                "These shards were not written to their end: remove the folder and start 'tlkeras shards' "
                f"again. Received: {folder} with the file {UNFINISHED!r}"
            )
    return root, shards


def _below(root: str, file: str) -> str:
    """Returns the path of a shard relative to the folder of the shards."""
    return file.removeprefix(root).lstrip("/")


def _split_of(file: str, config: DataConfig) -> str:
    for name in reversed(file.split("/")):
        if named := [ours for ours, theirs in config.split_names.items() if theirs in name]:
            return named[0]
        for word in re.split(r"[^A-Za-z]+", name):
            if word.lower() in _SPLIT_WORDS:
                return _SPLIT_WORDS[word.lower()]
    return "all"


def _shard(file: str) -> Shard:
    try:
        facts = tf.io.gfile.stat(file)
    except tf.errors.OpError as error:
        raise UserError(f"{file} cannot be read ({_line(error)}).") from None
    return Shard(file if "://" in file else os.path.abspath(file), int(facts.length), int(facts.mtime_nsec))


def _rows(
    root: str, found: list[tuple[Shard, Places]], config: DataConfig, parts: dict[str, tuple[str, ...]],
    how: ShardFormat, in_training: bool,
) -> Rows:  # fmt: skip
    """Returns the rows of the shards of one split, and prepares those of the training for their order."""
    root = root if "://" in root else os.path.abspath(root)
    ids = TextColumnBuilder()
    for shard, places in found:
        name = _below(root, shard.path)
        for key in places.keys:
            ids.append(f"{name}:{key}")
    names, first = ids.column(), found[0][1]
    columns = {name: joined_columns([places.columns[name] for _, places in found]) for name in first.columns}
    inputs = _inputs(found, names, columns, parts, how)
    labels, weights = _labels(columns[LABEL], names, how), None
    if config.weights is not None:
        weights = checked_weights(np.asarray(columns[config.weights]), how.name, names)
    window = _window(found, config, parts, how)
    if window is not None:
        if in_training:
            _note_sorted(labels, how)
        inputs = inputs.in_blocks(window if in_training else 0)  # others are read from begin to end
    groups = completed_groups(groups_of_list(columns[GROUP]), names)
    return Rows(inputs, labels, names, groups, weights=weights, window=window)


def _inputs(found, names: TextColumn, columns, parts: dict[str, tuple[str, ...]], how: ShardFormat) -> Any:
    """Returns the inputs of rows in the form that `Rows` holds."""
    inputs, there = {}, {}
    for part, of_part in parts.items():
        if part in FILES:
            inputs[part], there[part] = _content(found, how)
        else:
            cells = [np.asarray(columns[name]) for name in of_part]
            inputs[part] = np.stack(cells, axis=1) if part == "columns" or len(cells) > 1 else cells[0]
            filled = np.stack([columns[name].lengths() > 0 for name in of_part])
            there[part] = filled.any(axis=0) if part == "columns" else filled.all(axis=0)
    empty = ~np.any(list(there.values()), axis=0)
    if empty.any():
        wanted = [part for part in parts if part in FILES]
        wanted += [name for part, of_part in parts.items() for name in of_part if part not in FILES]
        raise UserError(
            f"{how.name}: {names[int(np.flatnonzero(empty)[0])]} has no {' and no '.join(wanted)}. "
            f"Received: {empty.sum()} of {len(names)} such rows"
        )
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    for part in (part for part in inputs if part in FILES):
        inputs[part] = np.asarray(inputs[part])
        inputs[part][~there[part]] = missing_file(part)
    return joined(inputs)


def _content(found: list[tuple[Shard, Places]], how: ShardFormat) -> tuple[Any, np.ndarray]:
    """Returns the pictures, sounds or numbers of rows, and which rows have any."""
    arrays = [places.array for _, places in found if places.array is not None]
    if len(arrays) == len(found):
        forms = {f"{array.dtype} {array.shape[1:]}" for array in arrays}
        if len(forms) > 1:
            received = " and ".join(sorted(forms))
            raise UserError(
                f"{how.name}: all rows must have numbers of one dtype and shape. Received: {received}"
            )
        numbers = np.concatenate(arrays)
        check_numbers(numbers, how.name)
        return numbers, np.ones(len(numbers), bool)
    counts = [len(places.offset) for _, places in found]
    number = np.repeat(np.arange(len(found), dtype=np.int32), counts)
    offset = np.concatenate([places.offset for _, places in found])
    length = np.concatenate([places.length for _, places in found])
    column = ShardColumn(tuple(shard for shard, _ in found), number, offset, length)
    return column, np.concatenate([places.there for _, places in found])


def _with_checked_numbers(
    tables: dict[str, Rows], config: DataConfig, how: ShardFormat
) -> tuple[dict[str, Rows], int]:
    """Returns rows whose numbers are checked and converted as those of arrays, and what white is in them."""
    training = next((split for split in _TRAINING if split in tables), next(iter(tables)))
    given, ranged = tables[training].inputs, (255, None)
    if isinstance(given, np.ndarray):
        ranged = training_range(given)
    converted = dict(tables)
    for split, rows in tables.items():
        if isinstance(rows.inputs, np.ndarray):
            where = f"{how.name} ({split})"
            known = (None, None) if split == training else ranged
            converted[split] = replace(rows, inputs=inputs_of_source(rows.inputs, where, *known, config))
    return converted, ranged[0]


def _labels(labels: TextColumn, names: TextColumn, how: ShardFormat) -> TextColumn | None:
    missing = labels.lengths() == 0
    if missing.any() and not missing.all():
        raise UserError(
            f"{how.name}: {names[int(np.flatnonzero(missing)[0])]} has no label, but others have one. "
            f"Received: {missing.sum()} of {len(missing)} rows without a label"
        )
    return None if missing.all() else labels


def _window(found, config: DataConfig, parts: dict[str, tuple[str, ...]], how: ShardFormat) -> int | None:
    """Returns the number of rows among which rows are shuffled, or None if all rows are."""
    in_sequence = _alone(parts) and all(places.array is None for _, places in found)
    if config.order == "shards" and not in_sequence:
        raise UserError(
            "data.order=shards is for pictures or sounds that are read from shards. "
            f"Received: {', '.join(parts)} of {how.name}, which are held in memory"
        )
    on_bucket = any("://" in shard.path for shard, _ in found)
    wanted = config.order == "shards" or (config.order == "auto" and on_bucket and in_sequence)
    return config.order_window if wanted else None


def _note_sorted(labels: TextColumn | None, how: ShardFormat) -> None:
    """Warns of shards whose rows are sorted by class, in which a window holds few classes."""
    if labels is None or len(labels) < 2:
        return
    classes, of_row = labels.distinct()
    alike, largest = (np.diff(of_row) == 0).mean(), np.bincount(of_row).max() / len(of_row)
    if alike > max(_SORTED, largest) and len(classes) > 1:
        messages.warn(
            f"The rows in the shards of {how.name} are sorted by class, so that a batch has few classes. "
            "Write them with 'tlkeras shards --shuffle', or set data.order=rows."
        )


def _class_names(root: str) -> tuple[str, ...] | None:
    """Returns the names of the classes in their order, which a file beside the shards lists, or None."""
    try:
        with opened(f"{root or '.'}/{CLASSES}") as file:
            text = file.read().decode("utf-8").removesuffix("\n")
        return tuple(line.removesuffix("\r") for line in text.split("\n")) if text else None
    except (OSError, tf.errors.OpError):
        return None
    except UnicodeDecodeError:
        raise UserError(f"{root}/{CLASSES} is not UTF-8 text with one class on each line.") from None


def _numbered(rows: Rows, names: tuple[str, ...], root: str) -> Rows:
    """Returns rows whose labels are numbers of classes, as a file of class names stands beside them."""
    if rows.labels is None:
        return rows
    texts, number = rows.labels.distinct()
    for text in texts:
        if not (text.isdigit() and int(text) < len(names)):
            raise UserError(
                f"{root}/{CLASSES} lists {len(names)} classes, so labels must be 0..{len(names) - 1}. "
                f"Received: {text!r}"
            )
    return replace(rows, labels=np.array([int(text) for text in texts], np.int32)[number])


def unknown_feature(what: str, wanted: str, found: list[str], where: str) -> UserError:
    """Returns the error that a row lacks a feature.

    Args:
        what: What the feature holds, such as `picture`.
        wanted: Its name in the source.
        found: Names of the features that the row has.
        where: Name of the shard.
    """
    return UserError(
        f"{where} has no feature {wanted!r} that holds the {what}.{nearest(wanted, found)} "
        f"Received: {', '.join(sorted(found)) or 'no features'}"
    )


def _line(error: Exception) -> str:
    return (str(getattr(error, "message", error)).strip().splitlines() or [type(error).__name__])[0][:160]


def head_is_compressed(shard: Shard) -> bool:
    """Whether a shard is compressed by gzip, zstandard or bzip2, so that no row can be read alone."""
    with opened(shard.path) as file:
        head = file.read(4)
    return head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd" or head[:3] == b"BZh"

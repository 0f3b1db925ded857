"""A domain: the examples of one data source, with their splits, limits and labels."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig, Task
from tlkeras.data import splits as choose
from tlkeras.data.array_form import ArrayForm
from tlkeras.data.exclusion import NOTHING, Exclusion, read_exclusion
from tlkeras.data.input_shapes import Shape
from tlkeras.data.labels import encode
from tlkeras.data.modalities import MODALITIES, NAMED_BY, Modality, several_name
from tlkeras.data.pretext import with_pretext
from tlkeras.data.roles import Role
from tlkeras.data.rows import Rows
from tlkeras.data.sources import Table, read_source
from tlkeras.data.sources.base import SPLITS, check_splits
from tlkeras.data.sources.npz import table_of_arrays
from tlkeras.data.text_column import joined_columns
from tlkeras.errors import UserError


@dataclass(frozen=True, eq=False)
class Domain:
    """All facts about one domain.

    Attributes:
        name: Name of the domain, such as `"source"` or `"target"`.
        splits: Rows of those of `train`, `val` and `test` that exist.
        class_names: Names of the classes, or of the outputs in a regression. Empty without labels.
        task: Task of the config.
        modality: Modality of the inputs.
        num_outputs: Number of logits.
        input_shape: Shape of one input: `(height, width, 3)` for images, `(d,)` for vectors, a dict of
            shapes for several inputs.
        config: Config of the domain. For images its `image_size` is resolved to `(height, width)`.
        arrays: Form of the training arrays. None if the rows are files.
        skipped: `(id, reason)` of the unreadable rows that were left out.
        excluded: Rows that the user left out with `data.exclude`.
        problem: Reason why no classifier can be trained on the domain, if it was read with `lenient`; else
            an empty string.
    """

    name: str
    splits: dict[str, Rows]
    class_names: tuple[str, ...]
    task: Task
    modality: Modality
    num_outputs: int
    input_shape: Shape
    config: DataConfig
    arrays: ArrayForm | None = None
    skipped: tuple[tuple[str, str], ...] = ()
    excluded: Exclusion = NOTHING
    problem: str = ""

    @property
    def role(self) -> Role:
        """Role of the domain in the run."""
        return Role.of(self.name)

    @property
    def draws_pairs(self) -> bool:
        """Whether training uses two views of each row, with the row as the only label (SimCLR)."""
        return self.config.pretext is not None and self.config.pretext.name == "simclr"

    @property
    def turns_pictures(self) -> bool:
        """Whether batches hold rotated pictures, with the quarter turn as the label."""
        return self.config.pretext is not None and not self.draws_pairs

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width after resizing. None if the inputs are not images."""
        return self.modality.image_size(self.input_shape)

    def with_splits(self, splits: dict[str, Rows]) -> "Domain":
        """Returns the domain with other rows."""
        return replace(self, splits=splits)

    def fingerprint(self) -> str:
        """Returns a sha256 over the ids, labels and contents of all splits."""
        digest = hashlib.sha256(repr((self.task, self.class_names)).encode())
        for split in SPLITS:
            if split in self.splits:
                digest.update(f"{split}:{self.splits[split].fingerprint()}".encode())
        return digest.hexdigest()


def load_domain(
    config: DataConfig,
    *,
    seed: int,
    default_image_size: int | tuple[int, int] | None = None,
    name: str = "source",
    arrays: Mapping[str, object] | None = None,
    by_hash: bool = False,
    class_names: tuple[str, ...] | None = None,
    lenient: bool = False,
    kept_in: Path | None = None,
) -> Domain:
    """Reads a data source and divides it into splits.

    If the data have no `val` or `test`, a fraction of `train` is taken for it. This fraction is stratified
    by class and drawn with `seed` (for the emoji, with a hash of the code point). The rows of
    `config.exclude` are left out after that.

    Args:
        config: Config of the domain.
        seed: Seed of the experiment.
        default_image_size: Image size of the backbone, used if the config has no `image_size`. None uses
            the size that all images share, or 224 if they share none.
        name: Name of the domain. Source domains must have labels; other domains may have none.
        arrays: Arrays from Python, `{"train": (x, y), "test": (x, y)}`, that replace `config.source`.
        by_hash: Whether rows are divided by a hash of their ids, or of their groups if they have any, and
            limited by a hash of their ids, so that labels have no influence. This is for the unlabelled
            target of an adaptation.
        class_names: Class names that the labels must match, in this order, such as those of the source
            domain.
        lenient: Whether classes on which nothing can be trained (a single class, or a class without rows)
            are recorded in the domain's `problem` instead of raised.
        kept_in: Cache directory in which facts about files are kept between runs, or None.

    Returns:
        The domain. No image has been decoded yet.

    Raises:
        UserError: The data, their labels or their splits are not valid.
    """
    where = f"data[{name}]" if arrays is not None else config.source
    if arrays is not None:
        table = table_of_arrays(arrays, where, config=config)
    else:
        table = read_source(config, seed, kept_in)
    if config.weights is not None and all(rows.weights is None for rows in table.splits.values()):
        raise UserError(
            "data.weights names a column of a list: csv:FILE, jsonl:FILE or parquet:FILE. Weights of arrays "
            f"stand beside them: (x, y, weights). Received: data.weights={config.weights}, {where}"
        )
    if config.order == "shards" and all(rows.window is None for rows in table.splits.values()):
        raise UserError(
            "data.order=shards is for rows in shards: tfrecords:DIR or webdataset:DIR. "
            f"Received: data.order=shards, {where}"
        )
    table = _in_its_modality(table, config)
    splits = {split: rows for split, rows in table.splits.items() if len(rows)}
    if config.class_names is not None:
        table, splits = _with_class_names(table, splits, config.class_names, where)
    check_splits(splits, where)
    labels, names = encode(
        {split: rows.labels for split, rows in splits.items()},
        task=config.task,
        own_names=table.class_names,
        wanted_names=class_names,
        where=where,
    )
    splits = {split: replace(rows, labels=labels[split]) for split, rows in splits.items()}
    problem = ""
    if Role.of(name).must_have_labels and config.pretext is None:
        first = splits["train"] if "train" in splits else splits["all"]
        problem = _class_problem(first, names, config.task, where, complete=class_names is None)
    if problem and not lenient:
        raise UserError(problem)
    excluded = read_exclusion(config.exclude, splits, where)
    splits = _divide(splits, table, config, seed, by_hash)
    splits = {split: _limit(rows, split, config, seed, by_hash) for split, rows in splits.items()}
    # after the division and the limit, so that every other row stays where it was
    splits = {split: excluded.without(rows, split) for split, rows in splits.items()}
    unfitted: Any = table.modality  # of a table in its modality
    modality = unfitted.fitted(splits["train"])
    splits = {s: _encoded(rows, table, modality, config) for s, rows in splits.items()}
    for part in config.parts_left_out:
        splits = {s: modality.without(rows, part) for s, rows in splits.items()}
    scan = modality.scan(config, kept_in)
    splits = {split: replace(rows, scan=scan) for split, rows in splits.items()}
    domain = _domain(name, modality, splits, names, config, default_image_size)
    arrays_of_train = domain.modality.array_form(splits["train"], table.white)
    domain = replace(domain, problem=problem, arrays=arrays_of_train, excluded=excluded)
    # A pretext task drops the labels only after the division into splits. The later task with labels then
    # has the same splits, and none of its test pictures is used here for training.
    return domain if config.pretext is None else with_pretext(domain)


def _with_class_names(table: Table, splits: dict[str, Rows], names: tuple[str, ...], where: str):
    """Returns the table and its splits with names for integer labels, which may be numbers in text."""
    if table.class_names is not None and tuple(table.class_names) != tuple(names):
        raise UserError(
            f"{where} has class names of its own: leave data.class_names out. "
            f"Received: {', '.join(names[:8])} for {', '.join(table.class_names[:8])}"
        )
    if len(set(names)) < len(names):
        raise UserError(f"data.class_names must differ. Received: {', '.join(names[:20])}")
    return replace(table, class_names=tuple(names)), {s: _numbered(rows) for s, rows in splits.items()}


def _numbered(rows: Rows) -> Rows:
    """Returns rows whose labels are integers if they were whole numbers in text, as in a CSV file."""
    labels = rows.labels
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "OU":
        return rows
    if not all(str(label).isdigit() for label in labels):
        return rows
    return replace(rows, labels=labels.astype(int))


def _in_its_modality(table: Table, config: DataConfig) -> Table:
    """Returns a table in the form of the modality that the source or the config names, or that its rows have.

    Raises:
        UserError: The config names a modality that the rows do not have.
    """
    named = [MODALITIES.get(kind) for field, kind in NAMED_BY.items() if getattr(config, field)]
    modality = table.modality or next(iter(named), None) or _kind_of_rows(table)
    modality = modality if isinstance(modality, Modality) else MODALITIES.get(modality)
    found = modality.with_config(config).of_table(table, config)
    for other in named:
        if other.name not in (modality.name, *modality.made_of):
            other.of_table(found, config)  # says which rows it needs
    return found


def _kind_of_rows(table: Table) -> str:
    rows = table.splits["train"] if "train" in table.splits else next(iter(table.splits.values()))
    if rows.inputs.dtype.names:
        return several_name(rows.inputs.dtype.names)
    return "vector" if rows.kind == "vectors" else "image"


def _encoded(rows: Rows, table: Table, modality: Modality, config: DataConfig) -> Rows:
    keys = rows.inputs
    given = keys if table.draw is None else table.draw(np.asarray(keys))
    inputs = modality.encoded(given, config)
    return rows if inputs is keys else replace(rows, inputs=inputs, originals=np.asarray(given))


def _domain(name, modality, splits, names, config, default_image_size):
    rows = splits["train"]
    for split, other in splits.items():
        modality.check_split(split, other, rows)
    shape = modality.shape_of_rows(rows, config, default_image_size)
    num_outputs = 1 if config.task == "binary" else len(names)
    config = modality.resolved(config, shape)
    return Domain(name, splits, names, config.task, modality, num_outputs, shape, config)


def _class_problem(rows: Rows, names, task, where, *, complete) -> str:
    """Returns the reason why no classifier can be trained on these classes, or an empty string."""
    labels = rows.labels
    if labels is None:
        return (
            f"{where} has no labels, and a source domain needs them: a folder for each class, a column "
            f"'label', or y_train. Received: {len(rows)} rows without labels"
        )
    if task == "regression":
        return ""
    if len(names) < 2 and task != "multilabel":
        only = f"{len(rows)} rows, all of class {names[0]!r}" if names else "none"
        return f"{where} has fewer than 2 classes, so there is nothing to classify. Received: {only}"
    if task == "binary" and len(names) > 2:
        return f"task='binary' needs 2 classes. Received: {len(names)} in {where} ({', '.join(names[:8])})"
    counts = labels.sum(axis=0) if task == "multilabel" else np.bincount(labels, minlength=len(names))
    empty = [name for name, count in zip(names, counts, strict=True) if count == 0]
    if empty and complete:
        return (
            f"{where}: a class has no rows in train. Add rows, or remove the class (for example an empty "
            f"class folder). Received: class {empty[0]!r} with 0 rows"
        )
    return ""


def _classes(rows: Rows) -> np.ndarray | None:
    """Returns the labels by which a choice is stratified, or None if there is no single label per row."""
    return rows.labels if rows.labels is not None and rows.labels.ndim == 1 else None


def _divide(splits, table: Table, config: DataConfig, seed: int, by_hash: bool) -> dict[str, Rows]:
    if config.folds is not None:
        return _fold(concatenated(list(splits.values())), config, seed, by_hash)
    if "all" in splits:
        splits = {"train": splits["all"]}
    if not table.final:
        fractions = {"test": config.test_fraction, "val": config.val_fraction}
        fractions = {s: f for s, f in fractions.items() if s not in splits and f > 0}
        splits = {**splits, **_take_out(splits["train"], fractions, seed, by_hash)}
    return {split: splits[split] for split in SPLITS if split in splits and len(splits[split])}


def _hashed(rows: Rows) -> Any:
    """Returns the names whose hash chooses the split: those of the groups, which stay together, if any."""
    return rows.ids if rows.groups is None else rows.groups


def _take_out(train: Rows, fractions, seed, by_hash) -> dict[str, Rows]:
    if by_hash:
        parts = choose.split_by_hash(_hashed(train), fractions, "split")
    else:
        parts = choose.split_rows(_classes(train), train.groups, len(train), fractions, seed)
    if not len(parts["train"]):
        raise UserError(f"Too few rows to divide into train, val and test. Received: {len(train)} rows")
    return {split: train.take(indices) for split, indices in parts.items()}


def _fold(rows: Rows, config: DataConfig, seed: int, by_hash: bool) -> dict[str, Rows]:
    """Divides all rows for cross-validation: fold `config.fold` is `test`, a part of the rest is `val`."""
    if len(rows) < config.folds:
        raise UserError(
            f"data.folds must not exceed the rows. Received: folds={config.folds}, {len(rows)} rows"
        )
    if by_hash:
        fold = (choose.hash_fractions(_hashed(rows), "fold") * config.folds).astype(int)
    else:
        fold = choose.fold_of_rows(_classes(rows), rows.groups, len(rows), config.folds, seed)
    held = config.fold or 0  # `inspect` names no fold and shows the first
    held_out, rest = rows.take(fold == held), rows.take(fold != held)
    fractions = {"val": config.val_fraction} if config.val_fraction else {}
    parts = {**_take_out(rest, fractions, seed, by_hash), "test": held_out}
    return {split: parts[split] for split in SPLITS if split in parts and len(parts[split])}


def concatenated(tables: list[Rows]) -> Rows:
    """Returns the rows of several tables as one table."""
    if len(tables) == 1:
        return tables[0]
    column = lambda name: (  # noqa: E731
        None
        if any(getattr(t, name) is None for t in tables)
        else joined_columns([getattr(t, name) for t in tables])
    )
    weights = None
    if any(table.weights is not None for table in tables):
        parts = [np.ones(len(t), np.float32) if t.weights is None else t.weights for t in tables]
        weights = np.concatenate(parts)
    columns: dict[str, Any] = {name: column(name) for name in ("inputs", "labels", "ids", "groups")}
    return Rows(**columns, weights=weights, window=tables[0].window)


def _limit(rows: Rows, split: str, config: DataConfig, seed: int, by_hash: bool) -> Rows:
    if split == "train" and config.per_class is not None:
        classes = _classes(rows)
        if by_hash or classes is None:
            raise UserError(
                f"data.per_class needs one class label per row. Received: per_class={config.per_class}, "
                f"{'an unlabelled target' if by_hash else f'task={config.task}'}"
            )
        rows = rows.take(choose.few_shots(classes, config.per_class, seed))
    limits: Any = config.limit
    limit = limits.get(split) if isinstance(limits, dict) else limits
    if limit is None or limit >= len(rows):
        return rows
    if by_hash:
        return rows.take(choose.limited_by_hash(rows.ids, limit, "limit"))
    return rows.take(choose.limited(_classes(rows), len(rows), limit, seed))

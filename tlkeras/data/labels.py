"""Conversion of labels from the form of the data source to numbers for the loss."""

from collections.abc import Mapping

import numpy as np

from tlkeras.data.text_column import TextColumn
from tlkeras.errors import UserError, unknown


def encode(
    raw: Mapping[str, np.ndarray | None],
    *,
    task: str,
    own_names: tuple[str, ...] | None,
    wanted_names: tuple[str, ...] | None,
    where: str,
) -> tuple[dict[str, np.ndarray | None], tuple[str, ...]]:
    """Converts the labels of all splits to numbers that mean the same in every split.

    Args:
        raw: Labels by split: names, integers, floats or booleans `(n,)`; one-hot rows, multi-hot rows or
            values `(n, k)`; None for a split without labels. Booleans get the names `False` and `True`, as
            in a CSV file, if there are no other names.
        task: Task of the config.
        own_names: Class names of the data source in the order of its integer labels, or None.
        wanted_names: Class names that the labels must match, such as those of another domain, or None.
        where: Name of the data source in messages.

    Returns:
        `(labels, names)`. The labels of each split are `int32` `(n,)` for multiclass and binary, else
        `float32` `(n, k)`. The names are those of the classes, or of the outputs of a regression.

    Raises:
        UserError: A label is out of range, is missing, or does not fit the task.
    """
    raw = {split: None if y is None else _tidy(y) for split, y in raw.items()}
    given = {split: y for split, y in raw.items() if y is not None}
    if not given:
        return dict(raw), wanted_names or own_names or ()
    coder = {"regression": _values, "multilabel": _multi_hot}.get(task, _indices)
    coded, names = coder(given, own_names, wanted_names, where)
    return {split: coded.get(split) for split in raw}, names


def _tidy(labels):
    if isinstance(labels, TextColumn):
        return labels
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.dtype.kind in "SU" or labels.dtype == object:
        return np.array([x.decode() if isinstance(x, bytes) else x for x in labels.tolist()], object)
    return labels


def _indices(given, own_names, wanted_names, where):
    """Converts names, integers, booleans or one-hot rows to class indices."""
    if (
        _are_booleans(given)
        and not own_names
        and (not wanted_names or {"True", "False"} >= set(wanted_names))
    ):
        given = {split: y.astype(object) for split, y in given.items()}  # named as in a CSV file
    if any(y.dtype == object for y in given.values()):
        named = {split: TextColumn.of(y) for split, y in given.items()}
        found = {name for y in named.values() for name in y.distinct()[0]}
        names = wanted_names or own_names or sorted_names(found)
        return _look_up(named, tuple(names), where), tuple(names)
    indices = {split: _from_numbers(y, split, where) for split, y in given.items()}
    width = next((y.shape[1] for y in given.values() if y.ndim == 2), 0)
    train = indices.get("train", next(iter(indices.values())))
    names = own_names or wanted_names or tuple(str(i) for i in range(width or int(train.max()) + 1))
    for split, y in indices.items():
        if y.min() < 0 or y.max() >= len(names):
            raise UserError(
                f"A label of {where} ({split}) is out of range 0..{len(names) - 1}, the classes of train. "
                f"Received: {int(y.min() if y.min() < 0 else y.max())}"
            )
    if wanted_names and own_names and tuple(own_names) != tuple(wanted_names):
        named = {split: TextColumn.of(own_names[i] for i in y) for split, y in indices.items()}
        return _look_up(named, tuple(wanted_names), where), tuple(wanted_names)
    return indices, tuple(names)


def _are_booleans(given) -> bool:
    return all(y.dtype == bool and y.ndim == 1 for y in given.values())


def _look_up(named, names, where):
    index, found = {name: i for i, name in enumerate(names)}, {}
    for split, y in named.items():
        texts, rows = y.distinct()
        for name in texts:
            if name not in index:
                raise unknown(f"class in {where}", name, names)
        found[split] = np.array([index[name] for name in texts], np.int32)[rows]
    return found


def _from_numbers(labels, split, where):
    if labels.ndim == 2:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise UserError(
                f"Two-dimensional labels of a multiclass task must be one-hot. "
                f"Received: shape={labels.shape} in {where} ({split}); use task='multilabel' or 'regression'"
            )
        return labels.argmax(axis=1).astype(np.int32)
    if labels.ndim != 1:
        raise UserError(
            f"Labels must have shape (n,) or (n, k). Received: {labels.shape} in {where} ({split})"
        )
    if labels.dtype.kind == "f" and not (labels == np.round(labels)).all():
        bad = labels[labels != np.round(labels)][0]
        raise UserError(f"A class label must be a whole number. Received: {bad} in {where} ({split})")
    if labels.dtype.kind not in "fiub":
        raise UserError(f"Labels must be numbers or names. Received: dtype={labels.dtype} in {where}")
    return labels.astype(np.int32)


def _multi_hot(given, own_names, wanted_names, where):
    """Converts multi-hot arrays or `a|b` lists of names to multi-hot rows."""
    if any(y.dtype == object for y in given.values()):
        sets = {s: [{p for p in str(x).split("|") if p} for x in y] for s, y in given.items()}
        found = {name for y in sets.values() for x in y for name in x}
        names = tuple(wanted_names or own_names or sorted_names(found))
        if strange := sorted(found - set(names)):
            raise unknown(f"class in {where}", strange[0], names)
        return {
            s: np.array([[name in x for name in names] for x in y], np.float32).reshape(-1, len(names))
            for s, y in sets.items()
        }, names
    for split, y in given.items():
        if y.ndim != 2 or not np.isin(y, (0, 1)).all():
            raise UserError(
                f"Labels of a multilabel task must be rows of zeros and ones, shape (n, k). "
                f"Received: shape={y.shape} in {where} ({split})"
            )
    _same_width(given, where)
    width = next(iter(given.values())).shape[1]
    names = own_names or wanted_names or tuple(str(i) for i in range(width))
    return {split: y.astype(np.float32) for split, y in given.items()}, tuple(names)


def _values(given, own_names, wanted_names, where):
    """Converts numbers or `1.5|2` lists in text to real values `(n, k)`."""
    try:
        values = {split: _floats(y) for split, y in given.items()}
    except ValueError as error:
        raise UserError(f"task='regression' needs numbers as labels. Received: {error} in {where}") from None
    for split, y in values.items():
        if not np.isfinite(y).all():
            raise UserError(
                f"A regression label is not finite. Received: {y[~np.isfinite(y)][0]} in {where} ({split})"
            )
    _same_width(values, where)
    width = next(iter(values.values())).shape[1]
    return values, tuple(wanted_names or own_names or [f"value_{i}" for i in range(width)])


def _floats(labels):
    if labels.dtype == object:
        labels = np.array([[float(part) for part in str(x).split("|")] for x in labels])
    return labels.astype(np.float32).reshape(len(labels), -1)


def _same_width(given, where):
    widths = sorted({y.shape[1] for y in given.values()})
    if len(widths) > 1:
        raise UserError(f"Labels must have the same width in all splits. Received: {widths} in {where}")


def sorted_names(names: set[str]) -> list[str]:
    """Sorts class names, as numbers if all are whole numbers, else as text."""
    if all(name.lstrip("-").isdigit() for name in names):
        return sorted(names, key=int)
    return sorted(names)

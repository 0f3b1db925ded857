"""A look at the data of a domain before a training."""

import bisect
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tlkeras.data.check import check_files, unreadable
from tlkeras.data.domains import Domain
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError


@dataclass(frozen=True)
class Inspection:
    """The findings of `inspect_domain`.

    Attributes:
        name: Name of the domain.
        source: Value of `data.source` in the config.
        rows: Number of rows per split.
        class_counts: Number of rows of each class, per split. Empty for regression and without labels.
        image_sizes: Stored sizes of the images per split, `{"min": [h, w], "median": [h, w], "max": [h, w]}`.
            Empty if the inputs are not images.
        facts: Facts of the modality about the inputs of each split, such as the numbers of tokens of texts.
            Floats are shares.
        unreadable: `(split, id, reason)` of every image that cannot be decoded.
        duplicates: Groups of `(split, id)` that have the same content and belong to more than one split.
        conflicts: Groups of `(split, id, class)` with the same content and different labels.
        problem: Reason why training would refuse these classes or files, or an empty string.
        fingerprint: sha256 digest of ids, labels and contents.
    """

    name: str
    source: str
    rows: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    image_sizes: dict[str, dict[str, list[int]]]
    facts: dict[str, dict[str, Any]]
    unreadable: list[tuple[str, str, str]]
    duplicates: list[list[tuple[str, str]]]
    conflicts: list[list[tuple[str, str, str]]]
    problem: str
    fingerprint: str

    def to_dict(self) -> dict:
        """Returns the findings as plain values for JSON."""
        return asdict(self)


def inspect_domain(domain: Domain, *, full: bool = True) -> Inspection:
    """Reads every row once and reports counts, sizes, unreadable files and duplicates.

    Args:
        domain: Domain that `load_domain` returned.
        full: Whether every image is decoded; see `check_files`.

    Returns:
        The findings. A bad file raises no error; it is listed.
    """
    splits = domain.splits
    bad = {split: unreadable(rows, full=full) for split, rows in splits.items()}
    same = _same_content(splits, bad)
    return Inspection(
        name=domain.name,
        source=domain.config.source,
        rows={split: len(rows) for split, rows in splits.items()},
        class_counts={s: counts for s, rows in splits.items() if (counts := _counts(domain, rows))},
        image_sizes={s: sizes for s, rows in splits.items() if (sizes := _sizes(domain, rows))},
        facts={s: facts for s, rows in splits.items() if (facts := _facts(domain, rows))},
        unreadable=[(s, str(splits[s].ids[i]), why) for s in splits for i, why in bad[s].items()],
        duplicates=[
            [(split, str(splits[split].ids[i])) for split, i in places]
            for places in same
            if len({split for split, _ in places}) > 1
        ],
        conflicts=_conflicts(domain, same),
        problem=domain.problem or _problem_with_files(domain),
        fingerprint=domain.fingerprint(),
    )


def leak_note(domain: Domain) -> str:
    """Returns a sentence about rows outside of train whose content is also in train, or an empty string.

    Args:
        domain: Domain without its unreadable rows. The digests of its rows are computed anyway for the
            fingerprint of the data.
    """
    names = sorted(domain.splits, key=lambda split: split != "train")  # train first
    first = _first_with_same_content([domain.splits[split] for split in names])
    training_rows = len(domain.splits["train"]) if "train" in names else 0
    leaked = training_rows + np.flatnonzero(first[training_rows:] < training_rows)
    if not len(leaked):
        return ""
    row = int(leaked[np.argmin(first[leaked])])
    split = next(split for split in names if (row := row - len(domain.splits[split])) < 0)
    return (
        f"The {domain.name} domain has rows of other splits in train, so scores look better than they are. "
        f"The first of {len(leaked)} is {split} {domain.splits[split].ids[row]}. tlkeras inspect names them, "
        "and with --features it writes a table for data.exclude."
    )


def _problem_with_files(domain: Domain) -> str:
    try:
        check_files(domain)
    except UserError as error:
        return str(error)
    return ""


def _counts(domain: Domain, rows: Rows) -> dict[str, int]:
    if rows.labels is None or domain.task == "regression":
        return {}
    if domain.task == "multilabel":
        counts = rows.labels.sum(axis=0).astype(int)
    else:
        counts = np.bincount(rows.labels, minlength=len(domain.class_names))
    return {name: int(count) for name, count in zip(domain.class_names, counts, strict=True)}


def _facts(domain: Domain, rows: Rows) -> dict[str, Any]:
    return domain.modality.facts_of_rows(rows, domain.config) if len(rows) else {}


def _sizes(domain: Domain, rows: Rows) -> dict[str, list[int]]:
    sides = domain.modality.image_sizes(rows)
    if sides is None or not len(sides):
        return {}
    summary = {"min": sides.min(axis=0), "median": np.median(sides, axis=0), "max": sides.max(axis=0)}
    return {name: [int(side) for side in value] for name, value in summary.items()}


def _same_content(splits: dict[str, Rows], bad: dict[str, dict]) -> list[list[tuple[str, int]]]:
    """Returns groups of rows, as `(split, index)`, that are readable and have equal contents."""
    begins = dict(zip(splits, np.cumsum([0, *map(len, splits.values())]).tolist(), strict=False))
    first = _first_with_same_content(list(splits.values()))
    first[[begins[split] + row for split, rows in bad.items() for row in rows]] = -1
    order = np.argsort(first, kind="stable")[np.count_nonzero(first < 0) :]
    groups = np.split(order, np.flatnonzero(np.diff(first[order])) + 1)
    names, starts = list(begins), list(begins.values())

    def place(row: int) -> tuple[str, int]:
        split = bisect.bisect_right(starts, row) - 1
        return names[split], row - starts[split]

    return [[place(int(row)) for row in group] for group in groups if len(group) > 1]


def _first_with_same_content(tables: list[Rows]) -> np.ndarray:
    """Returns for each row of the tables, one after another, the number of the first row of its content."""
    words = np.concatenate([rows.digests for rows in tables]).view(np.uint64)
    order = np.lexsort(words.T[:2])  # 128 bits of the digest tell contents apart
    changes = np.ones(len(order), bool)
    changes[1:] = (words[order[1:], :2] != words[order[:-1], :2]).any(axis=1)
    first = np.empty(len(order), np.int64)
    first[order] = order[changes][np.cumsum(changes) - 1]
    return first


def _conflicts(domain: Domain, same) -> list[list[tuple[str, str, str]]]:
    if domain.task not in ("multiclass", "binary"):
        return []
    found = []
    for places in same:
        labelled = [(s, i) for s, i in places if domain.splits[s].labels is not None]
        classes = [int(domain.splits[s].labels[i]) for s, i in labelled]
        if len(set(classes)) > 1:
            found.append(
                [
                    (split, str(domain.splits[split].ids[i]), domain.class_names[c])
                    for (split, i), c in zip(labelled, classes, strict=True)
                ]
            )
    return found

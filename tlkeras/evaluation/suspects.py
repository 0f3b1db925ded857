"""Suspicious rows of a domain: labels that are likely wrong, near-duplicates, and rows unlike all others.

`write_suspects` writes `suspects.csv` with a reason for each row, which `data.exclude` takes, and
`suspects.json` with small pictures for a page.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.data import Domain
from tlkeras.data.exclusion import CHOICE
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError
from tlkeras.evaluation.embedding import concatenated, thumbnails_of
from tlkeras.evaluation.label_errors import find_label_errors
from tlkeras.evaluation.near_duplicates import groups_of, near_duplicates, neighbours_of
from tlkeras.evaluation.nearest_training_rows import label_texts
from tlkeras.evaluation.prediction_files import csv_text
from tlkeras.evaluation.shown_rows import can_be_shown, inputs_of, keep_rows
from tlkeras.evaluation.unusual_rows import unusual_rows
from tlkeras.run_dir import write_json, write_text

TABLE, INDEX = "suspects.csv", "suspects.json"
COLUMNS = ("id", "split", CHOICE, "finding", "reason", "label", "suggested", "probability", "group")
UNLIKELY = 0.05  # a row is proposed to be left out if its label is less probable than this
# Only these are shown; the table has all.
SHOWN_LABELS, SHOWN_GROUPS, SHOWN_OF_A_GROUP, SHOWN_UNUSUAL = 60, 40, 6, 24
_KEPT_FIRST = (
    "test",
    "val",
    "train",
)  # a duplicate of a test row is left out of train, not the other way round
_SIDE = 96


@dataclass(frozen=True)
class Suspects:
    """The suspicious rows of a domain.

    Attributes:
        labels: Training rows whose label is most likely wrong, the most suspicious first.
        groups: Groups of near-duplicates. The first row of each is the one to keep.
        unusual: Rows unlike all others, the most unusual first.
        without_labels: Reason why no wrong labels were searched, or an empty string.
    """

    labels: list[dict[str, Any]]
    groups: list[list[dict[str, Any]]]
    unusual: list[dict[str, Any]]
    without_labels: str = ""

    @property
    def across_splits(self) -> list[list[dict[str, Any]]]:
        """Groups of near-duplicates with rows of several splits."""
        return [group for group in self.groups if len({row["split"] for row in group}) > 1]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All findings as rows of the table."""
        return [*self.labels, *(row for group in self.groups for row in group), *self.unusual]

    def summary(self) -> dict[str, int]:
        """Returns how many rows and groups there are of each kind."""
        return {
            "labels": len(self.labels),
            "groups": len(self.groups),
            "groups_across_splits": len(self.across_splits),
            "unusual": len(self.unusual),
            CHOICE: len({row["id"] for row in self.rows if row[CHOICE] == "yes"}),
        }


def find_suspects(domain: Domain, features: Mapping[str, np.ndarray], seed: int = 0) -> Suspects:
    """Returns the suspicious rows of a domain.

    Args:
        domain: Domain of the rows.
        features: Features of a frozen backbone for each split that is looked at, float `(n, d)`.
        seed: Seed of the folds of the probe.
    """
    table = _Table(domain, list(features))
    stacked = np.concatenate([np.asarray(features[split], np.float32) for split in table.splits])
    if len(stacked) < 3:
        return Suspects([], [], [], "there are fewer than three rows")
    neighbours = neighbours_of(stacked)
    small = None
    if domain.image_size is not None:
        small = concatenated([thumbnails_of(domain.splits[split], domain) for split in table.splits])
    groups = groups_of(near_duplicates(neighbours, small), len(stacked))
    copies = np.concatenate(groups) if groups else np.zeros(0, int)
    order, deviations = unusual_rows(stacked)
    lonely = ~np.isin(order, copies)
    reason = _no_labels(domain)
    return Suspects(
        [] if reason else _labels(table, features["train"], seed),
        [_group(table, rows, number) for number, rows in enumerate(groups, start=1)],
        [_unusual(table, row, far) for row, far in zip(order[lonely], deviations[lonely], strict=True)],
        reason,
    )


def write_suspects(folder: Path, domain: Domain, suspects: Suspects) -> None:
    """Writes `suspects.csv`, `suspects.json` and the files of the rows that a page shows.

    Args:
        folder: Folder of the files.
        domain: Domain of the rows.
        suspects: Suspicious rows of the domain.
    """
    shown = {
        "labels": suspects.labels[:SHOWN_LABELS],
        "groups": [group[:SHOWN_OF_A_GROUP] for group in _most_important(suspects)[:SHOWN_GROUPS]],
        "unusual": suspects.unusual[:SHOWN_UNUSUAL],
    }
    entries = [*shown["labels"], *(row for group in shown["groups"] for row in group), *shown["unusual"]]
    if entries and can_be_shown(domain):
        _keep(folder / "rows", domain, entries)
    facts = {"source": domain.config.source, "summary": suspects.summary()}
    facts["without_labels"] = suspects.without_labels
    rows = [[row.get(column, "") for column in COLUMNS] for row in suspects.rows]
    text = csv_text(list(COLUMNS), rows)
    write_json(folder / INDEX, facts | shown | {"table": _digest(text.encode("utf-8", "backslashreplace"))})
    write_text(folder / TABLE, text)


def require_unedited(folder: Path) -> None:
    """Raises `UserError` if the table of a folder was edited since it was written."""
    if not (folder / TABLE).is_file():
        return
    written = json.loads((folder / INDEX).read_text("utf-8"))["table"] if (folder / INDEX).is_file() else None
    if written != _digest((folder / TABLE).read_bytes()):
        raise UserError(
            f"{folder / TABLE} was edited and would be overwritten: choose another --workdir, or move it. "
            f"Received: workdir={str(folder)!r}"
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _keep(folder: Path, domain: Domain, entries: list[dict[str, Any]]) -> None:
    """Writes the pictures, sounds or words of rows, and adds the names of their files."""
    for split, rows in domain.splits.items():
        chosen = [entry for entry in entries if entry["split"] == split]
        if not chosen:
            continue
        places = {str(name): index for index, name in enumerate(rows.ids)}
        taken = rows.take(np.array([places[entry["id"]] for entry in chosen]))
        stems = [f"{split}_{number:03d}" for number in range(len(chosen))]
        kept = keep_rows(folder, stems, inputs_of(taken, domain), domain.modality, largest_side=_SIDE)
        for entry, files in zip(chosen, kept, strict=True):
            entry |= files


def _most_important(suspects: Suspects) -> list[list[dict[str, Any]]]:
    """Returns the groups, those across splits first."""
    return sorted(suspects.groups, key=lambda group: len({row["split"] for row in group}) == 1)


class _Table:
    """The rows of several splits, one after another.

    Args:
        domain: Domain of the rows.
        splits: Names of the splits.
    """

    def __init__(self, domain: Domain, splits: list[str]):
        self.splits = splits
        parts: list[Rows] = [domain.splits[split] for split in splits]
        self.ids = [str(name) for rows in parts for name in rows.ids]
        self.split = [split for split, rows in zip(splits, parts, strict=True) for _ in range(len(rows))]
        self.labels = [text for rows in parts for text in label_texts(rows, domain)]
        self.train = np.flatnonzero(np.array(self.split) == "train")
        self.domain = domain

    def row(self, index: int, finding: str, reason: str, out: bool, **more) -> dict[str, Any]:
        """Returns a row of the table."""
        return {
            "id": self.ids[index], "split": self.split[index], CHOICE: "yes" if out else "no",
            "finding": finding, "reason": reason, "label": self.labels[index],
        } | more  # fmt: skip


def _no_labels(domain: Domain) -> str:
    """Returns why no wrong labels are searched, or an empty string."""
    if domain.task not in ("multiclass", "binary"):
        return f"wrong labels are searched only where a row has one class (the task is {domain.task})"
    labels = domain.splits["train"].labels
    if labels is None:
        return "the rows have no labels"
    if len(labels) < 4 or len(np.unique(labels)) < 2:
        return "there are too few rows or classes"
    return ""


def _labels(table: _Table, features: np.ndarray, seed: int) -> list[dict[str, Any]]:
    labels = np.asarray(table.domain.splits["train"].labels).reshape(-1).astype(int)
    found = find_label_errors(features, labels, seed)
    names = table.domain.class_names
    rows = []
    for index in map(int, found.named):
        own, other = float(found.probability[index]), float(found.suggested_probability[index])
        suggested = names[found.suggested[index]]
        reason = f"probability {own:.3f} of {names[labels[index]]}, {other:.2f} of {suggested}"
        more = {"suggested": suggested, "probability": round(own, 4)}
        rows.append(table.row(table.train[index], "label", reason, own < UNLIKELY, **more))
    return rows


def _group(table: _Table, rows: np.ndarray, number: int) -> list[dict[str, Any]]:
    first, *others = sorted(rows, key=lambda row: (_KEPT_FIRST.index(table.split[row]), row))
    found = [table.row(first, "near-duplicate", f"the one to keep of {len(rows)}", False, group=number)]
    for row in others:
        note = ", with another label" if table.labels[row] != table.labels[first] else ""
        reason = f"near-duplicate of {table.split[first]} {table.ids[first]}{note}"
        found.append(table.row(row, "near-duplicate", reason, True, group=number))
    return found


def _unusual(table: _Table, row: int, far: float) -> dict[str, Any]:
    return table.row(row, "unusual", f"unlike all others, {far:.1f} deviations from what is usual", False)

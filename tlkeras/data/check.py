"""The check before training that all images are readable. It names those that are not."""

from dataclasses import replace

import numpy as np

from tlkeras.data.domains import Domain
from tlkeras.data.file_kinds import SOUNDS
from tlkeras.data.rows import Rows
from tlkeras.errors import UserError

_NAMED = 5  # unreadable files that an error names; all of them are counted


def check_files(domain: Domain, *, full: bool = False) -> tuple[Domain, list[tuple[str, str]]]:
    """Checks every image of a domain, and leaves out or reports those that cannot be read.

    The files alone decide which rows are left out, so the order of the others is the same in every run.
    Arrays are not checked.

    Args:
        domain: The domain to check.
        full: Whether every image is decoded, regardless of their number. Otherwise, if there are more than
            100,000, only the size, the head and the end of each file are checked.

    Returns:
        The domain without its unreadable rows, and `(id, reason)` of each unreadable row.

    Raises:
        UserError: With `on_error="fail"`, some files are unreadable (the message names them). With
            `"skip"`, no image of a split, or of a class in train, is readable.
    """
    splits, skipped = {}, []
    for split, rows in domain.splits.items():
        bad = unreadable(rows, full=full)
        skipped += [(rows.ids[i], reason) for i, reason in bad.items()]
        splits[split] = rows.take(np.setdiff1d(np.arange(len(rows)), list(bad))) if bad else rows
    if skipped and domain.config.on_error == "fail":
        named = "; ".join(f"{name} {reason}" for name, reason in skipped[:_NAMED])
        more = f"; and {len(skipped) - _NAMED} more" if len(skipped) > _NAMED else ""
        raise UserError(
            f"Unreadable {domain.modality.plural} in {domain.config.source}: {named}{more}. Repair or "
            f"remove them, or set data.on_error=skip.{_hint(domain)} "
            f"Received: {len(skipped)} unreadable"
        )
    if skipped:
        _check_what_is_left(domain, splits)
    return _with_splits(domain, splits, skipped), skipped


def _hint(domain: Domain) -> str:
    """Returns what is missing in the config if the files are sounds that were read as images."""
    inputs = [rows.encoded for rows in domain.splits.values() if rows.encoded is not None]
    named = (str(one).lower() for column in inputs for one in column if isinstance(one, str))
    if domain.config.seconds is None and any(one.endswith(SOUNDS.suffixes) for one in named):
        return " If they are sounds, set data.seconds, their duration in seconds."
    return ""


def unreadable(rows: Rows, *, full: bool = False) -> dict[int, str]:
    """Returns the reason of each unreadable row, by its index."""
    if rows.encoded is None:
        return {}
    return dict((rows.scan(rows.encoded, full=True) if full else rows.facts).reasons)


def _check_what_is_left(domain, splits):
    for split, rows in splits.items():
        if not len(rows):
            raise UserError(
                f"No {domain.modality.name} of {domain.config.source} ({split}) is readable. Received: 0 rows"
            )
    before, after = domain.splits["train"].labels, splits["train"].labels
    if before is None or before.ndim != 1 or domain.task == "regression":
        return
    lost = set(before.tolist()) - set(after.tolist())
    if lost:
        name = domain.class_names[min(lost)]
        raise UserError(
            f"No training {domain.modality.name} of class {name!r} is readable. "
            f"Received: class {name!r} with 0 rows"
        )


def _with_splits(domain: Domain, splits: dict[str, Rows], skipped) -> Domain:
    same = all(splits[split] is domain.splits[split] for split in splits)
    return domain if same else replace(domain, splits=splits, skipped=tuple(skipped))

"""Pretext tasks, which need no labels: to recognise quarter turns, and to match two views of a picture."""

from dataclasses import replace

import numpy as np

from tlkeras.data.splits import hash_fractions
from tlkeras.errors import UserError

TURNS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")


def with_pretext(domain):
    """Returns a domain in which the labels of its pretext task replace its own labels.

    The task `rotation` has four classes. In training the turn of a row is drawn in every epoch; in an
    evaluation its id determines it. The task `simclr` has no labels, and the outputs are the projection.

    Args:
        domain: A `Domain` whose config has a pretext task.

    Raises:
        UserError: The rows are not pictures or have weights, or pictures to be turned are not square.
    """
    pretext = domain.config.pretext
    if pretext.name not in domain.modality.pretexts:
        raise UserError(
            f"A pretext task needs pictures. Received: {domain.config.source}, {domain.modality.plural}"
        )
    if any(rows.weights is not None for rows in domain.splits.values()):
        raise UserError(
            "A pretext task has labels of its own, without weights: leave the weights of the rows out. "
            f"Received: pretext={pretext.name}"
        )
    if pretext.name == "simclr":
        splits = {split: replace(rows, labels=None) for split, rows in domain.splits.items()}
        return replace(
            domain, splits=splits, class_names=(), task="regression", num_outputs=pretext.dimensions
        )
    height, width = domain.image_size
    if height != width:
        raise UserError(
            f"Turned pictures must be square: set image_size to a single number. Received: {height}x{width}"
        )
    splits = {split: replace(rows, labels=_fixed_turns(rows.ids)) for split, rows in domain.splits.items()}
    return replace(domain, splits=splits, class_names=TURNS, task="multiclass", num_outputs=len(TURNS))


def _fixed_turns(ids: np.ndarray) -> np.ndarray:
    return (hash_fractions(ids, "turn") * len(TURNS)).astype(np.int32)

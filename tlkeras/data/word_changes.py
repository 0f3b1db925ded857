"""Random changes of texts: tokens and words are removed, and words are swapped.

As for images, a change is a pure function of the seed, the epoch and the row.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tlkeras.config.data import AugmentConfig
from tlkeras.data.row_changes import changed_rows
from tlkeras.data.tokenizer import Tokenizer


def changed_texts(
    x: Mapping[str, tf.Tensor],
    tokenizer: Tokenizer | None,
    augment: AugmentConfig,
    seed: int,
    epoch: tf.Tensor,
    indices: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Changes a batch of texts, for use in tf.data.

    Args:
        x: Columns `ids` and `mask`, for pairs also `types`, int32 `(b, length)`.
        tokenizer: Tokenizer that knows which tokens begin a word. Without one, each token is a word.
        augment: Settings of the changes.
        seed: Seed of the stage.
        epoch: Number of the epoch, or of a fixed view, int64 scalar.
        indices: Indices of the rows, int64 `(b,)`.

    Returns:
        Columns like those of `x`. The special tokens and at least one word of each text remain.
    """
    return changed_rows(x, lambda row, rng: _changed(row, tokenizer, augment, rng), seed, epoch, indices)


def _changed(row: dict[str, np.ndarray], tokenizer, augment: AugmentConfig, rng: np.random.Generator) -> dict:
    length = int(row["mask"].sum())
    if not length:  # a text that is missing beside a picture
        return row
    ids = row["ids"][:length]
    special = _special(ids, tokenizer)
    word = _words(ids, special, tokenizer)
    movable = ~np.bincount(word, weights=special).astype(bool)  # a special token is a word of its own
    order = np.lexsort((np.arange(length), _swapped(movable, augment.word_swap, rng)[word]))
    left_out = movable & (rng.random(len(movable)) < augment.word_deletion)
    left_out[rng.permutation(np.flatnonzero(movable))[:1]] = False
    order = order[~left_out[word[order]]]
    changed = {name: np.zeros_like(part) for name, part in row.items()}
    for name, part in row.items():
        changed[name][: len(order)] = part[order]
    dropped = ~special[order] & (rng.random(len(order)) < augment.token_dropout)
    if dropped.sum() < (~special[order]).sum():
        changed["mask"][: len(order)][dropped] = 0
    return changed


def _special(ids: np.ndarray, tokenizer: Tokenizer | None) -> np.ndarray:
    if tokenizer is not None:
        return np.isin(ids, tokenizer.special)
    ends = np.zeros(len(ids), bool)
    ends[[0, -1]] = True
    return ends


def _words(ids: np.ndarray, special: np.ndarray, tokenizer: Tokenizer | None) -> np.ndarray:
    """Returns the number of the word to which each token belongs, from 0."""
    begins = np.ones(len(ids), bool) if tokenizer is None else ~tokenizer.continues[ids]
    begins |= special | np.roll(special, 1)
    begins[0] = True
    return np.cumsum(begins) - 1


def _swapped(movable: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Returns the new place of each word. Random pairs of neighbouring words are swapped."""
    place = np.arange(len(movable))
    first = np.arange(rng.integers(2), len(movable) - 1, 2)
    chosen = first[(rng.random(len(first)) < probability) & movable[first] & movable[first + 1]]
    place[chosen], place[chosen + 1] = chosen + 1, chosen
    return place

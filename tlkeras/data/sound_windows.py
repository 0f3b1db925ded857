"""Windows of long sounds: one that is drawn at random, and all of them as rows of their own."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from tlkeras.data import random_streams
from tlkeras.data.rows import Rows
from tlkeras.data.sound_files import SoundSpec, SoundWindow


def lengths_of(rows: Rows, spec: SoundSpec) -> np.ndarray:
    """Returns the lengths of sounds in files in samples at the rate of the spec, int64 `(n,)`."""
    return np.ceil(np.round(rows.facts["seconds"] * spec.rate, 6)).astype(np.int64)


def drawn_begins(
    lengths: np.ndarray, spec: SoundSpec, seed: int, epoch: int, indices: np.ndarray
) -> np.ndarray:
    """Returns where a random window of each sound begins, int64 `(b,)`: a pure function of the arguments.

    Args:
        lengths: Lengths of all sounds in samples.
        spec: Form of the samples.
        seed: Seed of the stage.
        epoch: Number of the epoch, or of a fixed view.
        indices: Indices of the sounds, int64 `(b,)`.
    """
    free = np.maximum(lengths[indices] - spec.samples, 0) + 1
    draws = [
        np.random.default_rng([seed, int(epoch), int(index), random_streams.WINDOW]).random()
        for index in indices
    ]
    return (np.array(draws) * free).astype(np.int64)


def mean_by_owner(values: np.ndarray, owners: Iterable) -> tuple[np.ndarray, list]:
    """Returns the means of the values for all windows of each sound, and the sounds in their order.

    Args:
        values: Values of windows, float `(m, ...)`.
        owners: Number or name of the sound of each window, `(m,)`.

    Returns:
        Means `(n, ...)` of the dtype of the values, and the n numbers or names.
    """
    places: dict[Any, int] = {}
    rows = np.array([places.setdefault(owner, len(places)) for owner in owners])
    totals = np.zeros((len(places), *values.shape[1:]))
    np.add.at(totals, rows, values)
    counts = np.bincount(rows).reshape(-1, *[1] * (values.ndim - 1))
    return (totals / counts).astype(values.dtype), list(places)


def all_windows(rows: Rows, spec: SoundSpec, column: str | None = None) -> tuple[Rows, np.ndarray] | None:
    """Returns the consecutive windows of sounds as rows, and for each window the number of its sound.

    Args:
        rows: Sounds in files.
        spec: Form of the samples.
        column: Column of the sounds, if rows have several.

    Returns:
        None if every sound has one window.
    """
    begins = [spec.begins(int(length)) for length in lengths_of(rows, spec)]
    if all(len(one) == 1 for one in begins):
        return None
    owners = np.repeat(np.arange(len(rows)), [len(one) for one in begins])
    sounds = rows.inputs if column is None else rows.inputs[column]
    windows = np.empty(len(owners), object)
    windows[:] = [SoundWindow(sounds[row], begin) for row in range(len(rows)) for begin in begins[row]]
    taken = rows.take(owners)
    if column is None:
        return replace(taken, inputs=windows), owners
    inputs = np.array(taken.inputs)
    inputs[column] = windows
    return replace(taken, inputs=inputs), owners

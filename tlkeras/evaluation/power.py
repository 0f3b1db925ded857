"""How large a gain must be for a verdict to see it, said before anything is trained."""

import numpy as np
import scipy.stats

from tlkeras.evaluation.seed_noise import OF_SCORES
from tlkeras.evaluation.verdict import CONFIDENCE, PRIOR_SEEDS, UNSTABLE, counted

DISAGREEING = 0.25  # assumed share of the test rows on which only one of run and twin is right
_SHARED = 0.3  # assumed correlation of this between two seeds
_MOST_ROWS, _MANY_ROWS = 1_000_000, 20_000


def visible_gain(rows: int, seeds: int, *, unstable: bool = False, power: float = 0.8) -> float:
    """Returns the gain in accuracy that a verdict sees with probability `power`, in 0..1.

    Args:
        rows: Number of test rows.
        seeds: Number of seeds of the run and of its twin.
        unstable: Whether there is a domain shift, or few labels; see `judge`.
        power: Probability that the verdict is `helped` if the true gain has the returned size.
    """
    of_rows = DISAGREEING * (_SHARED + (1 - _SHARED) / seeds) / rows
    of_seeds = OF_SCORES.factor * (UNSTABLE if unstable else 1) * DISAGREEING / seeds
    far = (1 + CONFIDENCE) / 2
    tails = scipy.stats.t.ppf(far, PRIOR_SEEDS + seeds - 1)
    half_width = np.sqrt(scipy.stats.norm.ppf(far) ** 2 * of_rows + tails**2 * of_seeds)
    return float(half_width + scipy.stats.norm.ppf(power) * np.sqrt(of_rows + of_seeds))


def rows_needed(gain: float, seeds: int, *, unstable: bool = False) -> int | None:
    """Returns the number of test rows from which a gain is visible, with two digits, or None for no number.

    Args:
        gain: True gain in accuracy, in 0..1.
        seeds: Number of seeds.
        unstable: Whether there is a domain shift, or few labels; see `judge`.
    """
    low, high = 1, _MOST_ROWS
    if visible_gain(high, seeds, unstable=unstable) > gain:
        return None
    while low < high:
        middle = (low + high) // 2
        enough = visible_gain(middle, seeds, unstable=unstable) <= gain
        low, high = (low, middle) if enough else (middle + 1, high)
    size = 10 ** max(len(str(low)) - 2, 0)
    return -(-low // size) * size


def what_can_be_seen(rows: int, seeds: int, *, unstable: bool = False) -> str:
    """Returns sentences for people on the gains that a verdict could see, and on what smaller ones need.

    Args:
        rows: Number of test rows.
        seeds: Number of seeds.
        unstable: Whether there is a domain shift, or few labels; see `judge`.
    """
    seen = 100 * visible_gain(rows, seeds, unstable=unstable)
    return (
        f"Verdict: with {counted(rows, 'test row')} and {counted(seeds, 'seed')}, a true gain of "
        f"{seen:.0f} points in accuracy would be seen in four cases of five. A gain of 5 points needs "
        f"{_needed(0.05, unstable)}, and one of 2 points {_needed(0.02, unstable)}. This assumes that only "
        f"one of run and twin is right on {100 * DISAGREEING:.0f} % of the rows."
    )


def _needed(gain: float, unstable: bool) -> str:
    """Returns the fewest seeds of a short list for which some thousand rows are enough, in words."""
    for seeds in (3, 5, 10, 20):
        rows = rows_needed(gain, seeds, unstable=unstable)
        if rows is not None and rows <= _MANY_ROWS:
            return f"{counted(rows, 'row')} and {seeds} seeds"
    return "more than 20 seeds"

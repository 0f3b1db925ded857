"""How much scores vary between seeds beyond what the test rows explain; see `tlkeras.evaluation.verdict`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SeedNoise:
    """The variance of a gain between seeds that a verdict assumes.

    Attributes:
        factor: Variance per mean square of the differences of the rows. If there is `level`, it is the
            standard deviation of the score between seeds as a fraction of its level.
        level: Function of the score that returns the size of the error that it measures, or None for scores
            of classes.
    """

    factor: float
    level: Callable[[float], float] | None = None

    def variance(self, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> float:
        """Returns the assumed variance of the gain of one seed.

        Args:
            ours: Contributions of the rows to the score of the run, one array per seed.
            theirs: Those of its twin, in the same order of rows.
        """
        if self.level is None:
            pairs = zip(ours, theirs, strict=True)
            return self.factor * float(np.mean([np.mean((run - twin) ** 2) for run, twin in pairs]))
        levels = [self.level(float(np.mean([rows.mean() for rows in side]))) for side in (ours, theirs)]
        return float(sum((self.factor * level) ** 2 for level in levels))


# measured by benchmarks/metric_intervals.py with 300 labels
OF_SCORES, OF_RANKINGS = SeedNoise(0.002), SeedNoise(0.005)
OF_ERRORS = SeedNoise(0.015, lambda value: value)
OF_R2 = SeedNoise(0.03, lambda value: 1 - value)
OF_QUANTILES = SeedNoise(0.04, lambda value: value)
# measured by benchmarks/verdict_power.py
OF_LOG_LOSS = SeedNoise(0.005)

"""What a verdict could see, said before training."""

import numpy as np
import pytest

from tlkeras.evaluation.power import DISAGREEING, rows_needed, visible_gain, what_can_be_seen
from tlkeras.evaluation.verdict import decide, gain_interval


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_visible_gain_is_seen_in_four_cases_of_five(seeds):
    rows, rng = 500, np.random.default_rng(0)
    gain = visible_gain(rows, seeds)
    better = (DISAGREEING + gain) / 2
    chances = [DISAGREEING - better, 1 - DISAGREEING, better]
    seen = 0
    for _ in range(60):
        differences = [rng.choice([-1.0, 0.0, 1.0], size=rows, p=chances) for _ in range(seeds)]
        seen += decide(np.mean(differences), gain_interval(differences, same_rows=True)) == "helped"
    assert 42 <= seen <= 60


def test_more_rows_more_seeds_and_no_shift_show_smaller_gains():
    assert visible_gain(2000, 3) < visible_gain(272, 3) < visible_gain(272, 1)
    assert visible_gain(272, 3) < visible_gain(272, 3, unstable=True)
    enough = rows_needed(0.05, 5)
    assert visible_gain(enough, 5) <= 0.05 < visible_gain(0.8 * enough, 5)
    assert rows_needed(0.01, 1) is None  # the variation between seeds alone hides it


def test_sentences():
    said = what_can_be_seen(272, 3)
    assert "272 test rows and 3 seeds" in said and f"{100 * visible_gain(272, 3):.0f} points" in said
    assert "more than 20 seeds" in what_can_be_seen(272, 1, unstable=True)
    assert "1 seed," in what_can_be_seen(272, 1)

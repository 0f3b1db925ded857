"""Distances between the features of two domains."""

import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.evaluation.domain_distances import DISTANCES, a_distance, frechet_distance, mean_distance

RNG = np.random.default_rng(0)
SHIFT = np.array([3.0, 4.0, 0.0])
ROWS = RNG.normal(size=(400, 3))


def test_goldens_shared_with_the_losses():
    index = np.arange(32.0).reshape(8, 4)
    source, target = np.sin(index), np.cos(1.3 * index) + 0.5
    assert DISTANCES.get("coral")(source, target) == pytest.approx(0.007486997, abs=6e-10)
    assert DISTANCES.get("mmd")(source, target) == pytest.approx(0.080633621, abs=6e-10)


def test_all_grow_with_the_shift():
    near, far = ROWS[200:] * 1.1 + 0.2, ROWS[200:] * 3 + 1.5
    for name in DISTANCES.names():
        distance = DISTANCES.get(name)
        assert distance(ROWS[:200], near) < distance(ROWS[:200], far)


def test_closed_forms():
    assert mean_distance(ROWS, ROWS + SHIFT) == pytest.approx(5)
    assert frechet_distance(ROWS, ROWS + SHIFT) == pytest.approx(25)
    diagonal = np.cov(ROWS, rowvar=False).trace()
    assert frechet_distance(ROWS, ROWS * 2) == pytest.approx(
        diagonal + np.sum(ROWS.mean(axis=0) ** 2), rel=1e-6
    )


def test_a_distance_is_zero_between_alike_domains_and_two_between_separate_ones():
    assert a_distance(ROWS[:200], ROWS[200:]) < 0.35
    assert a_distance(ROWS[:200], ROWS[200:] + 20) == pytest.approx(2)
    # a probe that does worse than chance on held-out rows says 0, never less
    assert a_distance(ROWS[:6], ROWS[:6]) >= 0


def test_shapes_are_checked():
    with pytest.raises(UserError, match=r"\(400, 3\) and \(400, 2\)"):
        mean_distance(ROWS, ROWS[:, :2])

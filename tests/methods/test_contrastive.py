"""NT-Xent against the formula of the paper, written out in loops."""

import keras
import numpy as np
import pytest

from tlkeras.methods.pretext.contrastive import NTXent, pair_found


def by_the_paper(z, temperature):
    """Chen et al. 2020, equation 1, for rows 2k and 2k + 1; one loss per row."""
    losses = []
    for i in range(len(z)):
        j = i + 1 if i % 2 == 0 else i - 1
        s = [np.dot(z[i], z[k]) / (np.linalg.norm(z[i]) * np.linalg.norm(z[k])) for k in range(len(z))]
        total = sum(np.exp(s[k] / temperature) for k in range(len(z)) if k != i)
        losses.append(-np.log(np.exp(s[j] / temperature) / total))
    return np.array(losses)


@pytest.fixture
def projections():
    return np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


NUMBERS = np.repeat(np.arange(6), 2).astype(np.int32)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_loss_is_that_of_the_paper(projections, temperature):
    expected = by_the_paper(projections.astype(np.float64), temperature)
    np.testing.assert_allclose(NTXent(temperature).call(NUMBERS, projections), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(NTXent(temperature)(NUMBERS, projections), expected.mean(), rtol=1e-5)


def test_golden_value():
    # two pictures, both views equal, the pictures at right angles: -log(e^2 / (e^2 + 1 + 1))
    z = np.array([[1, 0], [3, 0], [0, 2], [0, 1]], np.float32)
    np.testing.assert_allclose(
        NTXent(0.5)(np.array([0, 0, 1, 1]), z), np.log(1 + 2 * np.exp(-2.0)), rtol=1e-5
    )


def test_rows_that_fill_up_change_nothing(projections):
    more = np.concatenate([projections, projections[-2:], projections[-2:]])
    numbers = np.concatenate([NUMBERS, [-1] * 4]).astype(np.int32)
    np.testing.assert_allclose(
        NTXent().call(numbers, more)[:12], NTXent().call(NUMBERS, projections), rtol=1e-5
    )
    np.testing.assert_array_equal(NTXent().call(numbers, more)[12:], np.zeros(4))
    np.testing.assert_array_equal(pair_found(numbers, more)[:12], pair_found(NUMBERS, projections))


def test_found_pairs_are_those_whose_nearest_row_is_the_other_view():
    angles = np.radians([0, 10, 90, 18])  # the second row lies nearer to the fourth than to the first
    z = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    np.testing.assert_array_equal(pair_found(np.array([0, 0, 1, 1]), z), [1, 0, 1, 0])


def test_loss_comes_back_from_its_config():
    again = keras.losses.deserialize(keras.losses.serialize(NTXent(0.2)), custom_objects={"NTXent": NTXent})
    assert again.temperature == 0.2

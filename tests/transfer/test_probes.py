import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.transfer.probes import PROBES, cross_validated, fit_probe, make_probe, probe_scores


def _blobs(shift: float = 3.0):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    return rng.normal(size=(90, 5)) + shift * np.eye(5)[y], y


@pytest.mark.parametrize("name", PROBES.names())
def test_scores_choose_the_class_that_the_probe_predicts(name):
    x, y = _blobs()
    probe = fit_probe(make_probe(name), x, y)
    scores = probe_scores(probe, x, classes=4)
    assert scores.shape == (90, 4)
    np.testing.assert_array_equal(scores.argmax(axis=1), probe.predict(x))
    assert np.mean(probe.predict(x) == y) > 0.9


def test_scale_of_a_feature_makes_no_difference_to_the_prototypes():
    x, y = _blobs()
    scaled = fit_probe(make_probe("prototypes"), x * [1, 10, 100, 1, 1], y).predict(x * [1, 10, 100, 1, 1])
    np.testing.assert_array_equal(scaled, fit_probe(make_probe("prototypes"), x, y).predict(x))


def test_held_out_rows_of_noise_are_guessed_by_chance():
    rng = np.random.default_rng(1)
    accuracy, right = cross_validated("logistic_regression", rng.normal(size=(100, 60)), np.arange(100) % 2)
    assert 0.3 < accuracy < 0.7 and right.shape == (100,)


def test_class_with_one_row_lowers_the_folds():
    x, y = _blobs()
    y = y.copy()
    y[0] = 3
    assert cross_validated("prototypes", x, y)[0] > 0.8


def test_unknown_option_names_the_probe():
    with pytest.raises(UserError, match="knn refuses its options"):
        make_probe("knn", options={"neighbours": 3})

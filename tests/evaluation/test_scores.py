"""Goldens of the transferability scores."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tlkeras.errors import UserError
from tlkeras.evaluation.transfer_scores import SCORES, leep, logme, nce


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    features = features / 16
    logits = features @ np.cos(np.outer(np.arange(64), np.arange(1, 6)))
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return features, exponentials / exponentials.sum(axis=1, keepdims=True), labels


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logme", 0.270278),
        ("h_score", 5.917909),
        ("regularized_h_score", 5.851433),
        ("transrate", 29.828333),
    ],
)
def test_scores_of_features_agree_with_goldens(digits, name, value):
    features, _, labels = digits
    assert SCORES.get(name)(features, labels) == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("name", "value"), [("leep", -2.153970), ("nce", -2.047954)])
def test_scores_of_probabilities_agree_with_goldens(digits, name, value):
    _, probabilities, labels = digits
    assert SCORES.get(name)(probabilities, labels) == pytest.approx(value, abs=1e-6)


def test_perfect_and_uniform_source_predictions(digits):
    labels = digits[2]
    perfect = np.eye(10)[labels]
    assert leep(perfect, labels) == pytest.approx(0)
    assert nce(perfect, labels) == pytest.approx(0)
    assert leep(np.full((len(labels), 5), 0.2), labels) == pytest.approx(-2.302479, abs=1e-6)


def test_leep_survives_a_source_class_of_probability_zero(digits):
    _, probabilities, labels = digits
    padded = np.pad(probabilities, ((0, 0), (0, 1)))
    assert leep(padded, labels) == pytest.approx(leep(probabilities, labels))


def test_scores_do_not_depend_on_the_numbering_of_classes(digits):
    features, _, labels = digits
    for _, score in SCORES.items("[!ln]*"):
        assert score(features, labels * 7 + 3) == pytest.approx(score(features, labels))


def test_wide_and_rank_deficient_features_stay_finite():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(30, 40)), 2, axis=1)
    labels = np.arange(30) % 3
    for _, score in SCORES.items("[!ln]*"):
        assert np.isfinite(score(features, labels))
    assert np.isfinite(logme(np.c_[features, np.zeros(30)], labels))


def test_one_class_is_refused():
    with pytest.raises(UserError, match="two classes"):
        logme(np.ones((4, 2)), np.zeros(4, int))

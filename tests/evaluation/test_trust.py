"""Temperatures, conformal sets and intervals, and the distance to the training rows, on made-up rows."""

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions, fit_temperature
from tlkeras.evaluation.calibration import calibration_of
from tlkeras.evaluation.conformal import KINDS, conformal_intervals, conformal_sets
from tlkeras.evaluation.unlike_training import UnlikeTraining
from tlkeras.models.probabilities import sigmoid, softmax


def classes(rows=1000, seed=0) -> Predictions:
    """Returns overconfident predictions: the labels are drawn from the logits divided by 2."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(rows, 6)) * 4
    labels = (softmax(logits / 2).cumsum(1) > rng.random((rows, 1))).argmax(1)
    return Predictions.from_logits(logits, task="multiclass", labels=labels)


def test_a_temperature_changes_no_answer_of_several_labels():
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(2000, 3)) * 2
    labels = rng.random((2000, 3)) < sigmoid(logits)
    found = Predictions.from_logits(logits * 3, task="multilabel", labels=labels)
    temperature = fit_temperature(found)
    assert temperature == pytest.approx(3, rel=0.1)
    cooled = found.at_temperature(temperature)
    np.testing.assert_array_equal(cooled.predicted, found.predicted)
    np.testing.assert_allclose(cooled.probabilities, sigmoid(found.logits / temperature))
    assert calibration_of(found)["error_after"] < 0.3 * calibration_of(found)["error_before"]


def test_rows_without_mistakes_do_not_make_the_model_certain():
    labels = np.arange(30) % 3
    found = Predictions.from_logits(np.eye(3)[labels], task="multiclass", labels=labels)
    assert 0.1 < fit_temperature(found) < 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_sets_hold_the_truth_as_often_as_asked(kind, coverage):
    found, rng = classes(), np.random.default_rng(2)
    covered, labels = [], found.labels
    for _ in range(200):
        order = rng.permutation(len(labels))
        ours, theirs = order[:500], order[500:]
        sets = conformal_sets(found.take(ours), found.take(theirs), coverage, kind)
        covered.append(sets[np.arange(500), labels[theirs]].mean())
    assert np.mean(covered) == pytest.approx(coverage, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_the_set_of_a_row_does_not_depend_on_the_others(kind):
    found, order = classes(300), np.random.default_rng(3).permutation(300)
    sets = conformal_sets(found, found, 0.9, kind)
    np.testing.assert_array_equal(conformal_sets(found, found.take(order), 0.9, kind), sets[order])
    assert conformal_sets(found, found, 0.99, kind).sum() > sets.sum()


def test_adaptive_sets_by_hand():
    # the scores are the sums of the likelier classes and a share u of the class itself
    row = Predictions.from_logits(np.log([[0.6, 0.3, 0.1]]), task="multiclass", labels=[0])
    scores = KINDS["adaptive"](row.probabilities)[0]
    u = (0.6 - scores[0]) / 0.6
    assert 0 <= u < 1
    assert scores == pytest.approx([0.6 - 0.6 * u, 0.9 - 0.3 * u, 1 - 0.1 * u])


def test_intervals_hold_the_value_as_often_as_asked():
    rng = np.random.default_rng(4)
    values = rng.normal(size=(4000, 2)) * [1, 10]
    found = Predictions.from_logits(np.zeros((4000, 2)), task="regression", labels=values)
    ours, theirs = found.take(np.arange(2000)), found.take(np.arange(2000, 4000))
    low, high = np.moveaxis(conformal_intervals(ours, theirs, 0.9), -1, 0)
    inside = ((low <= theirs.labels) & (theirs.labels <= high)).mean(axis=0)
    assert inside == pytest.approx([0.9, 0.9], abs=0.03)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"coverage": 1.5}, "between 0 and 1.*Received: 1.5"),
        ({"coverage": 0.99}, "at least 99 validation rows.*Received: 30"),
        ({"kind": "adaptiv"}, "Did you mean 'adaptive'"),
    ],
)
def test_what_cannot_be_covered_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        conformal_sets(classes(30), classes(30), **words)


def test_several_labels_have_no_sets():
    found = Predictions.from_logits(np.zeros((30, 2)), task="multilabel", labels=np.zeros((30, 2)))
    with pytest.raises(UserError, match=r"one class per row.*Received: task='multilabel'"):
        conformal_sets(found, found)


def test_the_distance_is_that_to_the_fifth_neighbour(tmp_path):
    rng = np.random.default_rng(5)
    train, val, new = rng.normal(size=(50, 8)), rng.normal(size=(1200, 8)), rng.normal(size=(700, 8)) * 9
    score = UnlikeTraining.measure(train, val)
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, val, new)]
    known = NearestNeighbors(n_neighbors=5).fit(unit[0].astype(np.float16).astype(float))
    expected = known.kneighbors(unit[2])[0][:, -1] / np.quantile(known.kneighbors(unit[1])[0][:, -1], 0.95)
    np.testing.assert_allclose(score.score(new), expected, atol=1e-4)
    assert (score.score(val) < 1).mean() == pytest.approx(0.95, abs=0.001)
    score.save(tmp_path / "kept.npz")
    np.testing.assert_array_equal(UnlikeTraining.load(tmp_path / "kept.npz").score(new), score.score(new))
    assert score.score(np.zeros((0, 8))).shape == (0,)
    assert UnlikeTraining.measure(train[:2], val).score(new).shape == (700,)  # fewer rows than neighbours

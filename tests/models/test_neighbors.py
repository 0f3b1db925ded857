"""The kNN layer says what scikit-learn's classifier says."""

import keras
import numpy as np
import pytest
from probe_scores import probe_scores

from tlkeras.methods.probe.probes import fit_probe, make_probe
from tlkeras.models.nearest_neighbors import NearestNeighbors
from tlkeras.runs.saved_run import load_model


def rows(classes, count=90, scale=1.0):
    rng = np.random.default_rng(0)
    y = rng.permutation(count) % classes
    return scale * (rng.normal(size=(count, 5)) + 2.0 * np.eye(5)[y] + 3.0), y


def layer(x, y, units, **settings):
    found = NearestNeighbors(units, len(x), **settings)
    found.build((None, x.shape[1]))
    found.put(x, y)
    return found


@pytest.mark.parametrize(("vote", "neighbors"), [("distance", 5), ("uniform", 3), ("distance", 1)])
@pytest.mark.parametrize("scale", [1.0, 1e-12])
def test_shares_are_those_of_scikit_learn(vote, neighbors, scale):
    x, y = rows(3, scale=scale)
    own = layer(x[:60], y[:60], 3, vote=vote, neighbors=neighbors)
    theirs = fit_probe(make_probe("knn", options={"n_neighbors": neighbors, "weights": vote}), x[:60], y[:60])
    expected = np.exp(probe_scores(theirs, x[60:], 3))
    found = np.exp(np.asarray(own(x[60:].astype(np.float32))))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_row_that_it_holds_is_its_own_nearest():
    x, y = rows(3)
    own = layer(x, y, 3, neighbors=4)
    np.testing.assert_array_equal(np.asarray(own(x.astype(np.float32))).argmax(axis=1), y)


def test_one_logit_is_yes_against_no():
    x, y = rows(2)
    one, two = (np.asarray(layer(x[:60], y[:60], units)(x[60:].astype(np.float32))) for units in (1, 2))
    np.testing.assert_allclose(one[:, 0], two[:, 1] - two[:, 0], rtol=1e-5)


def test_feature_that_never_changes_is_no_division_by_zero():
    x, y = rows(2)
    x[:, 0] = 7.0
    assert np.isfinite(np.asarray(layer(x, y, 2)(x.astype(np.float32)))).all()


def test_saved_layer_still_holds_its_rows(tmp_path):
    x, y = rows(3)
    inputs = keras.Input((5,))
    knn = NearestNeighbors(3, len(x), 5, "uniform")
    model = keras.Model(inputs, knn(inputs))
    knn.put(x, y)
    model.save(tmp_path / "knn.keras")
    again = load_model(tmp_path / "knn.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))

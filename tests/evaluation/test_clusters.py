import numpy as np
import pytest

from tlkeras.errors import UserError
from tlkeras.evaluation.clusters import KINDS, cluster, cluster_scores


@pytest.mark.parametrize("kind", KINDS)
def test_groups_are_found_whatever_they_are_called(kind):
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    x = rng.normal(size=(120, 8)) + 8 * np.eye(8)[y]
    found = cluster(x, 3, kind=kind, components=4, labels=y + 5)
    assert found.scores == {"nmi": 1.0, "ari": 1.0, "matched_accuracy": 1.0}


def test_matching_names_each_cluster_once():
    scores = cluster_scores(np.array([1, 1, 1, 0, 0, 2]), np.array([0, 0, 1, 1, 1, 1]))
    assert scores["matched_accuracy"] == pytest.approx(4 / 6)


def test_noise_scores_about_nothing():
    rng = np.random.default_rng(0)
    found = cluster(rng.normal(size=(300, 5)), 3, labels=np.arange(300) % 3)
    assert abs(found.scores["ari"]) < 0.05 and found.scores["matched_accuracy"] < 0.5


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(UserError, match="at least one row per cluster"):
        cluster(np.zeros((3, 2)), 4)

"""Unsupervised transfer: clusters of the features of a pretrained network, found without labels."""

from dataclasses import dataclass

import numpy as np

from tlkeras.errors import UserError, unknown
from tlkeras.lazy import LateModule

scipy = LateModule("scipy")
sklearn = LateModule("sklearn")

KINDS = ("k_means", "gaussian_mixture")


@dataclass(frozen=True)
class Clusters:
    """The result of `cluster`.

    Attributes:
        assigned: Number of the cluster of each row, int `(n,)`.
        scores: Agreement with labels: `nmi` (normalised mutual information, 0..1), `ari` (adjusted Rand
            index, at most 1) and `matched_accuracy` (0..1). Empty without labels.
    """

    assigned: np.ndarray
    scores: dict[str, float]


def cluster(
    features: np.ndarray,
    count: int,
    *,
    kind: str = "k_means",
    components: int | None = 50,
    labels: np.ndarray | None = None,
    seed: int = 0,
) -> Clusters:
    """Standardises features, reduces them by PCA, and clusters them.

    Args:
        features: Features of the rows, float `(n, d)`.
        count: Number of clusters, at least 2.
        kind: Method: `k_means`, or `gaussian_mixture` with diagonal covariances.
        components: Number of principal components, or None for no reduction.
        labels: Class numbers, integers `(n,)`, which are used only for the scores.
        seed: Seed of the initial clusters.

    Returns:
        Number of the cluster of each row, and the scores if there are labels.

    Raises:
        UserError: The features have another shape, there are fewer rows than clusters, or the kind is
            unknown.
    """
    features = np.asarray(features, np.float64)
    if kind not in KINDS:
        raise unknown("kind of clusters", kind, KINDS)
    if features.ndim != 2 or not 2 <= count <= len(features):
        raise UserError(
            "Clusters need features (n, d) with at least one row per cluster. Received: features of "
            f"shape {features.shape}, count={count}"
        )
    x = sklearn.preprocessing.StandardScaler().fit_transform(features)
    if components is not None and components < min(x.shape):
        x = sklearn.decomposition.PCA(components, random_state=seed).fit_transform(x)
    if kind == "k_means":
        assigned = sklearn.cluster.KMeans(count, n_init=10, random_state=seed).fit_predict(x)
    else:
        mixture = sklearn.mixture.GaussianMixture(
            count, covariance_type="diag", reg_covar=1e-4, random_state=seed
        )
        assigned = mixture.fit_predict(x)
    return Clusters(assigned, {} if labels is None else cluster_scores(assigned, labels))


def cluster_scores(assigned: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns scores for the agreement of clusters with classes.

    Args:
        assigned: Number of the cluster of each row `(n,)`.
        labels: Class of each row `(n,)`.

    Returns:
        `nmi` (normalised mutual information) and `ari` (adjusted Rand index), which are 1 at best and about
        0 by chance, and `matched_accuracy`, the accuracy with the best one-to-one match of clusters and
        classes.
    """
    rows, columns = (np.unique(np.asarray(v), return_inverse=True)[1].reshape(-1) for v in (assigned, labels))
    table = np.zeros((rows.max() + 1, columns.max() + 1), int)
    np.add.at(table, (rows, columns), 1)
    matched = table[scipy.optimize.linear_sum_assignment(-table)].sum()
    return {
        "nmi": float(sklearn.metrics.normalized_mutual_info_score(labels, assigned)),
        "ari": float(sklearn.metrics.adjusted_rand_score(labels, assigned)),
        "matched_accuracy": float(matched / len(rows)),
    }

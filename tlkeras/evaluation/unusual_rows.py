"""Rows unlike all others, by the distances to their nearest rows in feature space.

Breunig et al. 2000, "LOF: identifying density-based local outliers": a row is an outlier if its nearest rows
are much farther away than they are from their own nearest rows. Here the ratio of these distances takes the
place of densities, which say little with a thousand features.
"""

import numpy as np

from tlkeras.lazy import LateModule

sklearn = LateModule("sklearn")

NEIGHBOURS = 5  # the distance to this nearest row counts
AROUND = 10  # nearest rows with whose distances it is compared
FAR = 5.0  # deviations above the median


def unusual_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows that are far from all others.

    Args:
        features: Features `(n, d)`. With fewer than 20 rows none is unusual.

    Returns:
        `(indices, deviations)`: the rows, the most unusual first, and how far the logarithm of their ratio is
        above the median, in robust deviations (1.48 times the median absolute deviation).
    """
    if len(features) < 2 * AROUND:
        return np.zeros(0, int), np.zeros(0)
    search = sklearn.neighbors.NearestNeighbors(n_neighbors=AROUND).fit(features)
    distances, indices = search.kneighbors()
    own = np.maximum(distances[:, NEIGHBOURS - 1], 1e-9)
    ratio = np.log(own / np.median(own[indices], axis=1))
    centre = np.median(ratio)
    spread = max(1.4826 * float(np.median(np.abs(ratio - centre))), 1e-3)
    deviations = (ratio - centre) / spread
    order = np.argsort(-deviations, kind="stable")
    order = order[deviations[order] > FAR]
    return order, deviations[order]

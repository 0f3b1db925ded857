"""Distances between the features of two domains, in float64 numpy.

The features of the source are `(n, d)` and those of the target are `(m, d)`. A smaller distance means that
the domains are closer.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tlkeras.lazy import LateModule
from tlkeras.methods.probe.feature_mapping import of_two_domains
from tlkeras.methods.probe.probes import make_probe
from tlkeras.registry import Registry

threadpoolctl = LateModule("threadpoolctl")

DISTANCES: Registry[Callable[..., float]] = Registry("distance")


@DISTANCES.register("mean")
def mean_distance(source_features, target_features) -> float:
    """Returns the Euclidean distance of the means, `sqrt(sum (m_s - m_t)^2)`."""
    source, target = of_two_domains(source_features, target_features)
    return float(np.linalg.norm(source.mean(axis=0) - target.mean(axis=0)))


@DISTANCES.register("coral")
def coral_distance(source_features, target_features) -> float:
    """Returns the squared Frobenius distance of the covariances over `4 d^2` (Sun & Saenko 2016)."""
    source, target = of_two_domains(source_features, target_features)
    gap = np.cov(source, rowvar=False) - np.cov(target, rowvar=False)
    return float(np.sum(gap**2) / (4 * source.shape[1] ** 2))


@DISTANCES.register("mmd")
def mmd_distance(source_features, target_features, rows: int = 1000) -> float:
    """Returns the unbiased squared MMD (Gretton et al. 2012).

    The kernel is Gaussian. Its width is the median distance within the source.

    Args:
        source_features: Features of the source, `(n, d)`.
        target_features: Features of the target, `(m, d)`.
        rows: Largest number of rows of each domain that are compared. They are evenly spaced.
    """
    source, target = (
        x[:: max(1, -(-len(x) // rows))] for x in of_two_domains(source_features, target_features)
    )
    within_source, within_target = _squared(source, source), _squared(target, target)
    ordered = np.sort(within_source, axis=None)
    width = max(ordered[(len(ordered) - 1) // 2], 1e-12)
    kernels = [np.exp(-d / width) for d in (within_source, within_target, _squared(source, target))]
    same = [(k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
    return float(sum(same) - 2 * kernels[2].mean())


def _squared(left, right) -> np.ndarray:
    norms = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None]
    return np.maximum(norms - 2 * left @ right.T, 0)


@DISTANCES.register("frechet")
def frechet_distance(source_features, target_features) -> float:
    """Returns the squared Frechet distance of Gaussians fitted to both domains (Dowson & Landau 1982)."""
    source, target = of_two_domains(source_features, target_features)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (source, target))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    gap = np.sum((source.mean(axis=0) - target.mean(axis=0)) ** 2)
    return float(max(gap + np.trace(first) + np.trace(second) - 2 * cross, 0.0))


@DISTANCES.register("a_distance")
def a_distance(source_features, target_features, seeds: Sequence[int] = (0, 1, 2, 3, 4)) -> float:
    """Returns the proxy A-distance `2 (1 - 2 error)` of a linear probe (Ben-David et al. 2007).

    For each seed, equal numbers of rows of both domains are divided into halves. A logistic regression is
    trained on one half to recognise the domain, and its error is measured on the other half. The mean error
    over the seeds is clipped at 0.5.

    Args:
        source_features: Features of the source, `(n, d)`.
        target_features: Features of the target, `(m, d)`.
        seeds: Seeds, each for one division into halves.

    Returns:
        A number from 0 (the probe cannot distinguish the domains) to 2.
    """
    source, target = of_two_domains(source_features, target_features)
    count = min(len(source), len(target))
    errors = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        halves = [np.array_split(x[rng.permutation(len(x))[:count]], 2) for x in (source, target)]
        fit, held_out = (np.concatenate([halves[0][i], halves[1][i]]) for i in (0, 1))
        domains = [np.repeat([0, 1], [len(halves[0][i]), len(halves[1][i])]) for i in (0, 1)]
        probe = make_probe("logistic_regression", options={"max_iter": 1000})
        # Threads that wait for each other take a minute on a busy machine.
        with threadpoolctl.threadpool_limits(1):
            errors.append(1 - probe.fit(fit, domains[0]).score(held_out, domains[1]))
    return float(2 * (1 - 2 * min(np.mean(errors), 0.5)))

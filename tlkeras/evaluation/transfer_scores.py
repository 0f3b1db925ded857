"""Transferability scores: how well a source model suits a target task, without fine-tuning it.

All scores are computed in float64 numpy from `features` (n, d) or from `probabilities` (n, s) over the source
classes, and from integer `labels` (n,) of the target task. A higher score is better.
"""

import numpy as np

from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.registry import Registry

sklearn = LateModule("sklearn")

SCORES: Registry = Registry("transferability score")
"""Scores of a backbone on features by which `tlkeras rank` sorts."""


def _features_and_labels(features, labels) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, np.float64)
    labels = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    if features.ndim != 2 or len(features) != len(labels) or labels.max(initial=0) < 1:
        raise UserError(
            "A transferability score needs one row of features per label, and at least two classes. "
            f"Received: features of shape {features.shape}, {len(labels)} labels of "
            f"{labels.max(initial=-1) + 1} classes."
        )
    if not np.isfinite(features).all():
        raise UserError("A transferability score needs finite features. Received: NaN or infinity.")
    return features, labels


def _class_means(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns, for each row, the mean of the features of its class."""
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), features.shape[1]))
    np.add.at(sums, labels, features)
    return (sums / counts[:, None])[labels]


@SCORES.register("logme")
def logme(features, labels) -> float:
    """Returns the log maximum evidence of a Bayesian linear model (You et al. 2021, algorithm 1).

    Args:
        features: Features `(n, d)`.
        labels: Classes `(n,)`, integers.

    Returns:
        The evidence per sample, averaged over the one-against-rest targets of all classes.
    """
    features, labels = _features_and_labels(features, labels)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    kept = singular > singular[0] * np.finfo(np.float64).eps * max(features.shape)
    left, eigenvalues = left[:, kept], singular[kept] ** 2
    targets = np.eye(labels.max() + 1)[labels]
    return float(np.mean([_evidence(left, eigenvalues, target, features.shape) for target in targets.T]))


def _evidence(left, eigenvalues, target, shape: tuple[int, int]) -> float:
    """Returns the evidence per sample at the fixed point of prior and noise precision."""
    rows, dimensions = shape
    projected = (left.T @ target) ** 2
    unexplained = max(target @ target - projected.sum(), 0.0)
    prior, noise = 1.0, 1.0
    for _ in range(100):
        ratio = prior / noise
        effective = (eigenvalues / (eigenvalues + ratio)).sum()
        norm = (eigenvalues * projected / (eigenvalues + ratio) ** 2).sum()
        residual = (projected * (ratio / (eigenvalues + ratio)) ** 2).sum() + unexplained
        prior = effective / (norm + 1e-12)
        noise = (rows - effective) / (residual + 1e-12)
        if abs(prior / noise - ratio) <= 1e-9 * ratio:
            break
    ratio = prior / noise
    norm = (eigenvalues * projected / (eigenvalues + ratio) ** 2).sum()
    residual = (projected * (ratio / (eigenvalues + ratio)) ** 2).sum() + unexplained
    log_determinant = np.log(prior + noise * eigenvalues).sum()
    log_determinant += (dimensions - len(eigenvalues)) * np.log(prior)
    evidence = dimensions * np.log(prior) + rows * np.log(noise) - rows * np.log(2 * np.pi)
    return (evidence - log_determinant - noise * residual - prior * norm) / (2 * rows)


@SCORES.register("h_score")
def h_score(features, labels) -> float:
    """Returns the share of variance between classes, tr(cov(f)^-1 cov(E[f|y])) (Bao et al. 2019)."""
    features, labels = _features_and_labels(features, labels)
    left, singular = _principal_rows(features)
    kept = singular > singular[0] * np.finfo(np.float64).eps * max(features.shape)
    return float((_class_means(left[:, kept], labels) ** 2).sum())


@SCORES.register("regularized_h_score")
def regularized_h_score(features, labels) -> float:
    """Returns the H-score with shrinkage, for fewer rows than dimensions (Ibrahim et al. 2022)."""
    features, labels = _features_and_labels(features, labels)
    rows, dimensions = features.shape
    left, singular = _principal_rows(features)
    shrinkage = sklearn.covariance.ledoit_wolf_shrinkage(features)
    mean_variance = (singular**2).sum() / rows / dimensions
    total = (1 - shrinkage) * singular**2 / rows + shrinkage * mean_variance
    between = singular**2 * (_class_means(left, labels) ** 2).sum(axis=0) / (rows - 1)
    return float((1 - shrinkage) * (between[total > 0] / total[total > 0]).sum())


def _principal_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns U `(n, k)` and S `(k,)` of the singular value decomposition of the centred features.

    In this basis the covariance is diagonal. No `d x d` inverse is needed, and class means are means of rows
    of U.
    """
    left, singular, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return left, singular


@SCORES.register("transrate")
def transrate(features, labels, distortion: float = 1e-4) -> float:
    """Returns the coding rate of all features minus the mean rate within classes (Huang et al. 2022)."""
    features, labels = _features_and_labels(features, labels)
    features = features - features.mean(axis=0)
    classes = range(labels.max() + 1)
    within = np.mean([_coding_rate(features[labels == c], distortion) for c in classes])
    return float(_coding_rate(features, distortion) - within)


def _coding_rate(features: np.ndarray, distortion: float) -> float:
    rows, dimensions = features.shape
    scatter = features.T @ features if dimensions <= rows else features @ features.T
    return 0.5 * np.linalg.slogdet(np.eye(len(scatter)) + scatter / (rows * distortion))[1]


@SCORES.register("leep")
def leep(probabilities, labels) -> float:
    """Log expected empirical prediction (Nguyen et al. 2020).

    Args:
        probabilities: Probabilities of the source classes for the rows of the target, `(n, s)`.
        labels: Target classes `(n,)`.

    Returns:
        The mean log-likelihood, at most 0. Source classes that are never predicted are left out.
    """
    probabilities, labels = _features_and_labels(probabilities, labels)
    joint = np.eye(labels.max() + 1)[labels].T @ probabilities / len(labels)
    marginal = joint.sum(axis=0)
    # a source class with probability 0 in every row would give 0 / 0; it contributes nothing
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    likelihood = (probabilities * conditional[labels]).sum(axis=1)
    return float(np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())


@SCORES.register("nce")
def nce(probabilities, labels) -> float:
    """Returns the negative conditional entropy of the labels given the predicted source class.

    See Tran et al. 2019. The predicted classes of `probabilities` `(n, s)` replace source labels.
    """
    probabilities, labels = _features_and_labels(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    joint = np.zeros((probabilities.shape[1], labels.max() + 1))
    np.add.at(joint, (predicted, labels), 1 / len(labels))
    marginal = joint.sum(axis=1, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log((joint / np.where(marginal > 0, marginal, 1))[seen])).sum())

"""Transferability scores: how well a source model suits a target task, without fine-tuning it.

All work in float64 numpy on `features` (n, d) or on `probabilities` (n, s) over the source classes,
and on integer `labels` (n,) of the target task. Higher is better for each.
"""

import numpy as np

from tlkeras.errors import UserError
from tlkeras.registry import Registry

SCORES: Registry = Registry("transferability score")


def _features_and_labels(features, labels) -> tuple[np.ndarray, np.ndarray]:
    features = np.asarray(features, np.float64)
    labels = np.unique(np.asarray(labels), return_inverse=True)[1].reshape(-1)
    if features.ndim != 2 or len(features) != len(labels) or labels.max(initial=0) < 1:
        raise UserError(
            "A transferability score needs a row of numbers per label, and at least two classes. "
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
    """Log maximum evidence of a Bayesian linear model (You et al. 2021, algorithm 1).

    Args:
        features: Numbers of shape `(n, d)`.
        labels: Integer classes `(n,)`.

    Returns:
        The evidence per sample, averaged over one-against-rest targets of all classes.
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
    """Variance between classes relative to all variance, tr(cov(f)^-1 cov(E[f|y])) (Bao et al. 2019)."""
    features, labels = _features_and_labels(features, labels)
    left, singular = _principal_rows(features)
    kept = singular > singular[0] * np.finfo(np.float64).eps * max(features.shape)
    return float((_class_means(left[:, kept], labels) ** 2).sum())


@SCORES.register("regularized_h_score")
def regularized_h_score(features, labels) -> float:
    """H-score with Ledoit-Wolf shrinkage, for fewer samples than dimensions (Ibrahim et al. 2022)."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    features, labels = _features_and_labels(features, labels)
    rows, dimensions = features.shape
    left, singular = _principal_rows(features)
    shrinkage = ledoit_wolf_shrinkage(features)
    mean_variance = (singular**2).sum() / rows / dimensions
    total = (1 - shrinkage) * singular**2 / rows + shrinkage * mean_variance
    between = singular**2 * (_class_means(left, labels) ** 2).sum(axis=0) / (rows - 1)
    return float((1 - shrinkage) * (between[total > 0] / total[total > 0]).sum())


def _principal_rows(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns U `(n, k)` and S `(k,)` of the centred features' singular value decomposition.

    In that basis the covariance is diagonal, and needs no inverse of `d x d`: classes average rows of U.
    """
    left, singular, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    return left, singular


@SCORES.register("transrate")
def transrate(features, labels, distortion: float = 1e-4) -> float:
    """Coding rate of all features minus the mean rate within classes (Huang et al. 2022)."""
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
        probabilities: What the source model's head gives for the target's rows, `(n, s)`.
        labels: Target classes `(n,)`.

    Returns:
        The mean log-likelihood, at most 0. Source classes that are never predicted are left out.
    """
    probabilities, labels = _features_and_labels(probabilities, labels)
    joint = np.eye(labels.max() + 1)[labels].T @ probabilities / len(labels)
    marginal = joint.sum(axis=0)
    # 0 / 0 where a source class has probability exactly 0 in every row: it adds nothing
    conditional = np.divide(joint, marginal, out=np.zeros_like(joint), where=marginal > 0)
    likelihood = (probabilities * conditional[labels]).sum(axis=1)
    return float(np.log(np.maximum(likelihood, np.finfo(np.float64).tiny)).mean())


@SCORES.register("nce")
def nce(probabilities, labels) -> float:
    """Negative conditional entropy of the labels given the source model's predicted class.

    Tran et al. 2019, with the predictions `(n, s)` in the place of source labels.
    """
    probabilities, labels = _features_and_labels(probabilities, labels)
    predicted = probabilities.argmax(axis=1)
    joint = np.zeros((probabilities.shape[1], labels.max() + 1))
    np.add.at(joint, (predicted, labels), 1 / len(labels))
    marginal = joint.sum(axis=1, keepdims=True)
    seen = joint > 0
    return float((joint[seen] * np.log((joint / np.where(marginal > 0, marginal, 1))[seen])).sum())

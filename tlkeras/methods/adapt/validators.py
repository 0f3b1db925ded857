"""Model selection without target labels.

A validator is a function whose parameter names declare the arrays `(n, ...)` in float64 numpy that it needs.
A higher score is better. The possible names are `source_train_features`, `source_val_features`,
`source_val_logits`, `source_val_labels`, `target_features` and `target_logits`. There are no target labels.
"""

import inspect
from collections.abc import Callable

import numpy as np

from tlkeras.errors import UserError
from tlkeras.methods.probe.probes import make_probe
from tlkeras.models.probabilities import entropy, softmax
from tlkeras.registry import Registry

VALIDATORS: Registry[Callable[..., float]] = Registry("validator")
"""Scores without target labels that `adaptation.selection` can name."""
SND_TEMPERATURE = 0.05
_SND_BLOCK = 1024
QUANTITIES = (
    "source_train_features",
    "source_val_features",
    "source_val_logits",
    "source_val_labels",
    "target_features",
    "target_logits",
)


def needs(name: str) -> tuple[str, ...]:
    """Returns the names of the quantities that the validator `name` needs."""
    return tuple(inspect.signature(VALIDATORS.get(name)).parameters)


def validate(name: str, **quantities) -> float:
    """Returns the score of the validator `name`.

    Args:
        name: Name in `VALIDATORS`.
        **quantities: Arrays by the names in `QUANTITIES`. The validator ignores those that it does not need.

    Raises:
        UserError: The name is unknown, a quantity is missing, or a quantity is not allowed.
    """
    wanted = needs(name)
    foreign = sorted(set(quantities) - set(QUANTITIES))
    missing = [q for q in wanted if quantities.get(q) is None]
    if foreign or missing:
        raise UserError(
            f"The validator {name!r} needs {', '.join(wanted)}; allowed: {', '.join(QUANTITIES)}. "
            f"Received: {', '.join(sorted(quantities))}"
        )
    return float(VALIDATORS.get(name)(**{q: np.asarray(quantities[q]) for q in wanted}))


@VALIDATORS.register("source")
def source_validation(source_val_logits, source_val_labels) -> float:
    """Accuracy on the source's validation rows."""
    return float(np.mean(source_val_logits.argmax(axis=1) == _classes(source_val_labels)))


@VALIDATORS.register("entropy")
def negative_entropy(target_logits) -> float:
    """Minus the mean entropy of target predictions. It rewards collapse and should not be used alone."""
    return -float(np.mean(entropy(softmax(target_logits))))


@VALIDATORS.register("information_maximization")
def information_maximization(target_logits) -> float:
    """Entropy of the mean target prediction minus the mean entropy (Shi & Sha 2012)."""
    probabilities = softmax(target_logits)
    return float(entropy(probabilities.mean(axis=0)) - np.mean(entropy(probabilities)))


@VALIDATORS.register("bnm")
def bnm(target_logits) -> float:
    """Nuclear norm of the target predictions over the number of rows (Cui et al. 2020)."""
    return float(np.linalg.norm(softmax(target_logits), "nuc") / len(target_logits))


@VALIDATORS.register("snd")
def soft_neighborhood_density(target_logits) -> float:
    """Entropy of similarities between target predictions (Saito et al. 2021, eq. 2-4).

    The temperature is 0.05 as in the paper. All pairs of rows are compared, which takes about two seconds for
    10,000 rows. The score rewards collapsed models and should not be used alone.
    """
    probabilities = softmax(target_logits)
    units = probabilities / np.linalg.norm(probabilities, axis=1, keepdims=True)
    total = 0.0
    for first in range(0, len(units), _SND_BLOCK):  # all pairs at once would not fit into memory
        similarity = units[first : first + _SND_BLOCK] @ units.T / SND_TEMPERATURE
        np.fill_diagonal(similarity[:, first:], -1e9)  # a row is not its own neighbour
        similarity -= similarity.max(axis=1, keepdims=True)
        shares = np.exp(similarity)
        whole = shares.sum(axis=1)
        total += np.sum(np.log(whole) - np.einsum("ij,ij->i", shares, similarity) / whole)
    return float(total / len(units))


@VALIDATORS.register("importance_weighted")
def importance_weighted(
    source_train_features, source_val_features, source_val_logits, source_val_labels, target_features
) -> float:
    """Minus the source validation error, each row weighted by its density ratio (Sugiyama 2007)."""
    weights = density_ratio(source_train_features, target_features, source_val_features)
    errors = source_val_logits.argmax(axis=1) != _classes(source_val_labels)
    return -importance_weighted_risk(weights, errors)


@VALIDATORS.register("dev")
def deep_embedded_validation(
    source_train_features, source_val_features, source_val_logits, source_val_labels, target_features
) -> float:
    """Minus the importance-weighted error with a control variate (You et al. 2019, algorithm 1)."""
    weights = density_ratio(source_train_features, target_features, source_val_features)
    errors = source_val_logits.argmax(axis=1) != _classes(source_val_labels)
    return -deep_embedded_risk(weights, errors)


def importance_weighted_risk(weights, errors) -> float:
    """Returns the mean of `weights * errors`, both `(n,)`."""
    return float(np.mean(np.asarray(weights, np.float64) * np.asarray(errors, np.float64)))


def deep_embedded_risk(weights, errors) -> float:
    """Returns the importance-weighted risk with the weights, whose mean is 1, as control variate."""
    weights = np.asarray(weights, np.float64)
    weighted = weights * np.asarray(errors, np.float64)
    variance = np.var(weights, ddof=1)
    if variance < 1e-12:
        return float(weighted.mean())
    slope = -np.cov(weighted, weights)[0, 1] / variance
    return float(weighted.mean() + slope * (weights.mean() - 1))


def density_ratio(source_features, target_features, at) -> np.ndarray:
    """Estimates p_target / p_source by a logistic regression between the domains.

    Its probabilities are clipped to 1e-6..1 - 1e-6, so that a single row cannot dominate.

    Args:
        source_features: Features of source rows, `(n, d)`.
        target_features: Features of target rows, `(m, d)`.
        at: Features `(k, d)` at which the ratio is estimated.

    Returns:
        Ratios `(k,)`.
    """
    features = np.concatenate([source_features, target_features])
    domain = np.r_[np.zeros(len(source_features)), np.ones(len(target_features))]
    probe = make_probe("logistic_regression", options={"max_iter": 1000}).fit(features, domain)
    probability = np.clip(probe.predict_proba(at)[:, 1], 1e-6, 1 - 1e-6)
    return probability / (1 - probability) * len(source_features) / len(target_features)


def _classes(labels) -> np.ndarray:
    return labels.argmax(axis=1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)

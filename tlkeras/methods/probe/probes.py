"""Classical learners on frozen features, which are the cheapest form of transfer.

Each is a scikit-learn classifier on features that are standardised by the mean and the deviation of the
training rows. `scores(classifier, features)` returns its scores, which replace logits.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tlkeras.config import ProbeConfig
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.registry import Registry

sklearn = LateModule("sklearn")


@dataclass(frozen=True)
class Probe:
    """One kind of probe.

    Attributes:
        build: Function from a seed and options to an unfitted scikit-learn classifier.
        linear: Whether the fitted classifier is a matrix and a bias, which a linear head can store.
    """

    build: Callable
    linear: bool


PROBES: Registry[Probe] = Registry("probe")
"""Learners that `stages.N.probe.name` can name."""


def _probe(name: str, linear: bool):
    return lambda build: PROBES.add(name, Probe(build, linear)).build


@_probe("logistic_regression", linear=True)
def logistic_regression(seed: int = 0, **options):
    """Multinomial logistic regression with L2 penalty (options of scikit-learn's LogisticRegression)."""
    return _standardized(
        sklearn.linear_model.LogisticRegression(**{"max_iter": 2000, "random_state": seed, **options})
    )


@_probe("linear_svm", linear=True)
def linear_svm(seed: int = 0, **options):
    """Linear support vector machine, one against the rest (options of scikit-learn's LinearSVC)."""
    return _standardized(
        sklearn.svm.LinearSVC(**{"C": 0.01, "max_iter": 10_000, "random_state": seed, **options})
    )


@_probe("knn", linear=False)
def knn(seed: int = 0, **options):
    """k nearest neighbours, weighted by distance (options of scikit-learn's KNeighborsClassifier)."""
    return _standardized(
        sklearn.neighbors.KNeighborsClassifier(**{"n_neighbors": 5, "weights": "distance", **options})
    )


@_probe("prototypes", linear=True)
def prototypes(seed: int = 0, **options):
    """The nearest class mean (Snell et al. 2017, section 2.3, on fixed features)."""
    return _standardized(_Prototypes(**options))


class _Prototypes:
    """Class means as a scikit-learn classifier. A score is minus half the squared distance without x^2."""

    def __init__(self):
        self.means_ = None

    def fit(self, features, labels, sample_weight=None):
        self.classes_, weights = np.unique(labels), np.ones(len(labels))
        weights = weights if sample_weight is None else sample_weight
        chosen = [labels == c for c in self.classes_]
        self.means_ = np.stack([np.average(features[own], axis=0, weights=weights[own]) for own in chosen])
        self.coef_, self.intercept_ = self.means_, -0.5 * (self.means_**2).sum(axis=1)
        return self

    def decision_function(self, features):
        return features @ self.coef_.T + self.intercept_

    def predict(self, features):
        return self.classes_[self.decision_function(features).argmax(axis=1)]

    def score(self, features, labels):
        return float(np.mean(self.predict(features) == labels))

    def __sklearn_tags__(self):
        tags = sklearn.utils.TargetTags(required=True)
        return sklearn.utils.Tags(
            estimator_type="classifier", target_tags=tags, classifier_tags=sklearn.utils.ClassifierTags()
        )


def _standardized(classifier):
    return sklearn.pipeline.make_pipeline(sklearn.preprocessing.StandardScaler(), classifier)


def make_probe(name: str, seed: int = 0, options: dict | None = None):
    """Returns an unfitted scikit-learn classifier.

    Args:
        name: Name in `PROBES`.
        seed: Seed of the learner.
        options: Keyword arguments of the scikit-learn class.

    Raises:
        UserError: The name or an option is unknown.
    """
    try:
        return PROBES.get(name).build(seed, **(options or {}))
    except TypeError as error:
        raise UserError(f"The probe {name} refuses its options: {error}. Received: {options}") from error


def fit_probe(probe, features: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None):
    """Fits a probe and returns it.

    Args:
        probe: Learner of scikit-learn.
        features: Features `(n, d)`.
        labels: Class numbers `(n,)`.
        weights: Weights of the rows, `(n,)`, or None.

    Raises:
        UserError: scikit-learn refuses the value of an option.
    """
    try:
        weighted = {} if weights is None else {f"{probe.steps[-1][0]}__sample_weight": np.float64(weights)}
        return probe.fit(np.asarray(features, np.float64), np.asarray(labels), **weighted)
    except ValueError as error:
        raise UserError(f"The probe cannot be fitted: {str(error).splitlines()[0]}") from error


def cross_validated(
    name: str, features: np.ndarray, labels: np.ndarray, seed: int = 0, folds: int = 5
) -> tuple[float, np.ndarray]:
    """Returns the cross-validated accuracy of a probe, and whether each row was predicted correctly.

    Args:
        name: Name in `PROBES`.
        features: Features `(n, d)`.
        labels: Class numbers `(n,)`.
        seed: Seed of the folds.
        folds: Largest number of folds. It is reduced, to at least two, if a class has fewer rows.
    """
    right = np.zeros(len(labels), bool)
    for probe, held_out in _fitted_per_fold(name, features, labels, seed, folds):
        right[held_out] = probe.predict(np.asarray(features, np.float64)[held_out]) == labels[held_out]
    return float(right.mean()), right


def held_out_logits(features: np.ndarray, labels: np.ndarray, classes: int, seed: int = 0) -> np.ndarray:
    """Returns log-probabilities `(n, classes)` of rows by logistic regressions that were fitted without them.

    The folds are those of `cross_validated`.

    Args:
        features: Features `(n, d)`.
        labels: Class numbers `(n,)`.
        classes: Number of classes.
        seed: Seed of the folds.
    """
    found = np.full((len(labels), classes), -50.0)
    for probe, held_out in _fitted_per_fold("logistic_regression", features, labels, seed, 5):
        known = probe.predict_log_proba(np.asarray(features, np.float64)[held_out])
        found[np.ix_(held_out, probe.classes_)] = np.maximum(known, -50.0)
    return found


def _fitted_per_fold(name: str, features: np.ndarray, labels: np.ndarray, seed: int, folds: int):
    """Yields the probe of each fold and the indices of the rows that it was fitted without."""
    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    rarest = np.unique(labels, return_counts=True)[1].min()
    kind = sklearn.model_selection.StratifiedKFold if rarest > 1 else sklearn.model_selection.KFold
    splitter = kind(max(2, min(folds, rarest)), shuffle=True, random_state=seed)
    for fit, held_out in splitter.split(features, labels):
        yield fit_probe(make_probe(name, seed), features[fit], labels[fit]), held_out


def linear_weights(
    config: ProbeConfig,
    features: np.ndarray,
    labels: np.ndarray,
    classes: int,
    seed: int,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear probe and returns its weights for features that are not standardised.

    Args:
        config: Config of the probe.
        features: Features `(n, d)`.
        labels: Class numbers `(n,)`.
        classes: Number of classes. A class without rows gets a bias so low that it is never predicted.
        seed: Seed of the learner.
        weights: Weights of the rows, `(n,)`, or None.

    Returns:
        `(kernel, bias)`: float64 `(d, classes)` and `(classes,)`.
    """
    fitted = fit_probe(make_probe(config.name, seed, config.options), features, labels, weights)
    scaler, learner = fitted[0], fitted[-1]
    slopes, offsets = np.asarray(learner.coef_), np.asarray(learner.intercept_).reshape(-1)
    if len(learner.classes_) == 2 and len(slopes) == 1:
        slopes, offsets = np.concatenate([-slopes, slopes]) / 2, np.concatenate([-offsets, offsets]) / 2
    slopes = slopes / scaler.scale_
    kernel, bias = np.zeros((features.shape[1], classes)), np.full(classes, -1e4)
    kernel[:, learner.classes_] = slopes.T
    bias[learner.classes_] = offsets - slopes @ scaler.mean_
    return kernel, bias

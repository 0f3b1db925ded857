"""Classical learners on frozen features: the cheapest transfer there is.

Each is a scikit-learn classifier on features standardised by the training rows' mean and deviation, with
`scores(classifier, features)` in the place of logits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlkeras.config import ProbeConfig
from tlkeras.errors import UserError
from tlkeras.registry import Registry


@dataclass(frozen=True)
class Probe:
    """One kind of probe.

    Attributes:
        build: Called with a seed and options; returns an unfitted scikit-learn classifier.
        linear: Whether what it learns is a matrix and a bias, which a linear head can hold.
    """

    build: Callable
    linear: bool


PROBES: Registry[Probe] = Registry("probe")


def _probe(name: str, linear: bool):
    return lambda build: PROBES.add(name, Probe(build, linear)).build


@_probe("logistic_regression", linear=True)
def logistic_regression(seed: int = 0, **options):
    """Multinomial logistic regression with an L2 penalty; options of scikit-learn's class, e.g. C."""
    from sklearn.linear_model import LogisticRegression

    return _standardized(LogisticRegression(**{"max_iter": 2000, "random_state": seed, **options}))


@_probe("linear_svm", linear=True)
def linear_svm(seed: int = 0, **options):
    """Linear support vector machine, one against the rest; options of scikit-learn's LinearSVC."""
    from sklearn.svm import LinearSVC

    return _standardized(LinearSVC(**{"C": 0.01, "max_iter": 10_000, "random_state": seed, **options}))


@_probe("knn", linear=False)
def knn(seed: int = 0, **options):
    """k nearest neighbours, weighted by distance; options of scikit-learn's KNeighborsClassifier."""
    from sklearn.neighbors import KNeighborsClassifier

    return _standardized(KNeighborsClassifier(**{"n_neighbors": 5, "weights": "distance", **options}))


@_probe("prototypes", linear=True)
def prototypes(seed: int = 0, **options):
    """The nearest class mean (Snell et al. 2017, section 2.3, on fixed features)."""
    return _standardized(_Prototypes(**options))


class _Prototypes:
    """Class means as a scikit-learn classifier; a score is minus half the squared distance, but for x^2."""

    def __init__(self):
        self.means_ = None

    def fit(self, features, labels):
        self.classes_ = np.unique(labels)
        self.means_ = np.stack([features[labels == c].mean(axis=0) for c in self.classes_])
        self.coef_, self.intercept_ = self.means_, -0.5 * (self.means_**2).sum(axis=1)
        return self

    def decision_function(self, features):
        return features @ self.coef_.T + self.intercept_

    def predict(self, features):
        return self.classes_[self.decision_function(features).argmax(axis=1)]

    def score(self, features, labels):
        return float(np.mean(self.predict(features) == labels))

    def __sklearn_tags__(self):
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        tags = TargetTags(required=True)
        return Tags(estimator_type="classifier", target_tags=tags, classifier_tags=ClassifierTags())


def _standardized(classifier):
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), classifier)


def make_probe(name: str, seed: int = 0, options: dict | None = None):
    """Returns an unfitted scikit-learn classifier.

    Args:
        name: A name in `PROBES`.
        seed: Of what the learner draws.
        options: Keyword arguments of the scikit-learn class.

    Raises:
        UserError: An unknown name or option.
    """
    try:
        return PROBES.get(name).build(seed, **(options or {}))
    except TypeError as error:
        raise UserError(f"The probe {name} refuses its options: {error}. Received: {options}") from error


def fit_probe(probe, features: np.ndarray, labels: np.ndarray):
    """Fits a probe on features `(n, d)` and class numbers `(n,)`, and returns it.

    Raises:
        UserError: Where scikit-learn refuses a value of an option.
    """
    try:
        return probe.fit(np.asarray(features, np.float64), np.asarray(labels))
    except ValueError as error:
        raise UserError(f"The probe cannot be fitted: {str(error).splitlines()[0]}") from error


def cross_validated(
    name: str, features: np.ndarray, labels: np.ndarray, seed: int = 0, folds: int = 5
) -> tuple[float, Sequence[bool]]:
    """Returns the accuracy of a probe on rows that it was not fitted on, and which rows were right.

    Args:
        name: A name in `PROBES`.
        features: `(n, d)`.
        labels: Class numbers `(n,)`.
        seed: Of the folds.
        folds: At most; a class with fewer rows lowers it, to two at least.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    features, labels = np.asarray(features, np.float64), np.asarray(labels)
    rarest = np.unique(labels, return_counts=True)[1].min()
    kind = StratifiedKFold if rarest > 1 else KFold
    splitter = kind(max(2, min(folds, rarest)), shuffle=True, random_state=seed)
    right = np.zeros(len(labels), bool)
    for fit, held_out in splitter.split(features, labels):
        probe = fit_probe(make_probe(name, seed), features[fit], labels[fit])
        right[held_out] = probe.predict(features[held_out]) == labels[held_out]
    return float(right.mean()), right


def linear_weights(
    config: ProbeConfig, features: np.ndarray, labels: np.ndarray, classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear probe; returns what gives its scores on features as they are, not standardised.

    Args:
        config: Which probe, and its options.
        features: `(n, d)`.
        labels: Class numbers `(n,)`.
        classes: Number of classes; one without rows gets a bias that never wins.
        seed: Of what the learner draws.

    Returns:
        Kernel `(d, classes)` and bias `(classes,)`, float64.
    """
    fitted = fit_probe(make_probe(config.name, seed, config.options), features, labels)
    scaler, learner = fitted[0], fitted[-1]
    weights, offsets = np.asarray(learner.coef_), np.asarray(learner.intercept_).reshape(-1)
    if len(learner.classes_) == 2 and len(weights) == 1:
        weights, offsets = np.concatenate([-weights, weights]) / 2, np.concatenate([-offsets, offsets]) / 2
    weights = weights / scaler.scale_
    kernel, bias = np.zeros((features.shape[1], classes)), np.full(classes, -1e4)
    kernel[:, learner.classes_] = weights.T
    bias[learner.classes_] = offsets - weights @ scaler.mean_
    return kernel, bias

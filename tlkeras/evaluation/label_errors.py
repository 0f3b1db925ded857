"""Rows whose label is most likely wrong, by confident learning on features.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (JAIR 70).
Their confident joint (section 3.1) counts how many labels are wrong. That many rows are named, those with the
smallest self-confidence first (section 3.2), over all classes together. The probabilities are those of a
probe that has not seen the row.
"""

from dataclasses import dataclass

import numpy as np

from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

sklearn = LateModule("sklearn")
threadpoolctl = LateModule("threadpoolctl")

FOLDS = 5


@dataclass(frozen=True)
class LabelErrors:
    """Rows whose label is most likely wrong.

    Attributes:
        order: Indices of all rows, the most suspicious first, `(n,)`.
        count: Number of rows at the front of `order` whose labels are estimated to be wrong.
        probability: Probability of the given label of each row, `(n,)`.
        suggested: Class with the largest probability among the other classes, `(n,)`.
        suggested_probability: Probability of that class, `(n,)`.
    """

    order: np.ndarray
    count: int
    probability: np.ndarray
    suggested: np.ndarray
    suggested_probability: np.ndarray

    @property
    def named(self) -> np.ndarray:
        """Indices of the named rows, the most suspicious first."""
        return self.order[: self.count]


def find_label_errors(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> LabelErrors:
    """Returns the rows whose label is most likely wrong.

    Args:
        features: Features of a frozen backbone, float `(n, d)`.
        labels: Class numbers `(n,)`, of at least two classes.
        seed: Seed of the folds.

    Raises:
        UserError: There are fewer than two classes or fewer than four rows.
    """
    classes, given = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or len(given) < 4:
        raise UserError(
            "Wrong labels are searched among at least four rows of two classes. "
            f"Received: {len(given)} rows of {len(classes)} classes"
        )
    found = named_errors(out_of_fold(features, given, seed), given)
    return LabelErrors(
        found.order, found.count, found.probability, classes[found.suggested], found.suggested_probability
    )


def out_of_fold(features: np.ndarray, labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Returns the probabilities of a logistic regression that has not seen the row, float64 `(n, k)`.

    The penalty grows with the width of the features (`C = 1 / d` on standardised features), so that a probe
    on more features than rows is not sure of everything.

    Args:
        features: Features `(n, d)`.
        labels: Class numbers in 0..k-1, each of which occurs, `(n,)`.
        seed: Seed of the folds. There are five; a class with fewer rows misses in some of them.
    """
    features = np.asarray(features, np.float32)
    rarest = np.bincount(labels).min()
    kind = sklearn.model_selection.StratifiedKFold if rarest >= FOLDS else sklearn.model_selection.KFold
    splitter = kind(min(FOLDS, len(labels)), shuffle=True, random_state=seed)
    probabilities = np.zeros((len(labels), labels.max() + 1))
    with threadpoolctl.threadpool_limits(1):  # threads that wait for each other take longer on a busy machine
        for fit, held_out in splitter.split(features, labels):
            if len(np.unique(labels[fit])) < 2:
                probabilities[held_out, labels[fit][0]] = 1
                continue
            probe = sklearn.pipeline.make_pipeline(
                sklearn.preprocessing.StandardScaler(),
                sklearn.linear_model.LogisticRegression(C=1 / features.shape[1], tol=1e-3, max_iter=300),
            ).fit(features[fit], labels[fit])
            probabilities[np.ix_(held_out, probe.classes_)] = probe.predict_proba(features[held_out])
    return probabilities


def named_errors(probabilities: np.ndarray, labels: np.ndarray) -> LabelErrors:
    """Returns the rows whose label is most likely wrong, from out-of-fold probabilities.

    Args:
        probabilities: Out-of-fold probabilities `(n, k)`.
        labels: Class numbers in 0..k-1 `(n,)`.
    """
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    others = probabilities.copy()
    others[rows, labels] = -1
    suggested = others.argmax(axis=1)
    joint = confident_joint(probabilities, labels)
    return LabelErrors(
        order=np.argsort(own, kind="stable"),
        count=int(joint.sum() - np.trace(joint)),
        probability=own,
        suggested=suggested,
        suggested_probability=others[rows, suggested],
    )


def confident_joint(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns how many rows of each given class belong confidently to each class, int `(k, k)`.

    A row belongs confidently to a class if its probability is at least the mean probability of the class over
    the rows that are labelled so. If that holds for several classes, the most probable one counts (eq. 1).

    Args:
        probabilities: Out-of-fold probabilities `(n, k)`.
        labels: Class numbers in 0..k-1 `(n,)`.
    """
    classes = probabilities.shape[1]
    thresholds = np.array([probabilities[labels == c, c].mean() for c in range(classes)])
    confident = probabilities >= thresholds - 1e-12
    likely = np.where(confident, probabilities, -1).argmax(axis=1)
    some = confident.any(axis=1)
    return np.bincount(labels[some] * classes + likely[some], minlength=classes**2).reshape(classes, classes)

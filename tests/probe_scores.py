"""What a fitted probe says of each class, to hold the head against that takes its place."""

import numpy as np


def probe_scores(probe, features: np.ndarray, classes: int) -> np.ndarray:
    """Returns one score per class, float64 `(n, classes)`, whose softmax is meant as probabilities.

    A class that the probe never saw gets the lowest score that there is.

    Args:
        probe: A fitted probe.
        features: `(n, d)`.
        classes: Number of classes.
    """
    features = np.asarray(features, np.float64)
    if hasattr(probe[-1], "predict_proba"):
        found = np.log(np.maximum(probe.predict_proba(features), 1e-12))
    else:
        found = np.asarray(probe.decision_function(features))
        found = np.stack([-found, found], axis=1) if found.ndim == 1 else found
    scores = np.full((len(features), classes), found.min(initial=0.0) - 10.0)
    scores[:, probe[-1].classes_] = found
    return scores

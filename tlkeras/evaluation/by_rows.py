"""What each row contributes to a metric, so that every metric has an interval like a mean over rows.

Each function returns one float64 number per row, `(n,)`, whose mean is the metric on all rows. For a mean
over rows, such as the accuracy, this is the value of the row. For other metrics it is the pseudo-value of the
row in the jackknife (Tukey 1958), moved so that the mean is the metric: `metric + influence of the row`. To
first order in 1 / n, a bootstrap of these numbers is the bootstrap of the metric.
"""

from collections.abc import Callable, Sequence

import numpy as np

from tlkeras.evaluation.predictions import Predictions, two_sided

GROUPS = 100  # a metric without formula is computed this many times
_CELLS = 2**22  # numbers of one array while rows are left out one by one


def right(predictions: Predictions) -> np.ndarray:
    """Returns whether each row is right. For multilabel it is the share of right single predictions."""
    hits = predictions.predicted == predictions.labels
    return hits.mean(axis=1) if hits.ndim == 2 else hits.astype(float)


def majority(predictions: Predictions) -> float:
    """Returns the accuracy of the best constant answer on these rows."""
    if predictions.task == "multilabel":
        share = predictions.labels.mean(axis=0)
        return float(np.maximum(share, 1 - share).mean())
    return float(np.bincount(predictions.labels).max() / len(predictions))


def top_k_hits(predictions: Predictions, k: int = 5) -> np.ndarray:
    """Returns whether the class of each row is among the `k` largest logits. The first class wins a tie."""
    logits, labels = two_sided(predictions), predictions.labels
    own = logits[np.arange(len(logits)), labels][:, None]
    earlier = np.arange(logits.shape[1]) < labels[:, None]
    rank = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return ((rank < k) & ~np.isnan(logits).any(axis=1)).astype(float)


def absolute_errors(predictions: Predictions) -> np.ndarray:
    """Returns the mean absolute error of each row."""
    return np.abs(predictions.logits - predictions.labels).mean(axis=1)


def absolute_percentage_errors(predictions: Predictions) -> np.ndarray:
    """Returns the mean absolute error of each row in per cent of the true values."""
    size = np.maximum(np.abs(predictions.labels), 1e-7)
    return 100 * (np.abs(predictions.logits - predictions.labels) / size).mean(axis=1)


def pinball_losses(predictions: Predictions, quantile: float = 0.5) -> np.ndarray:
    """Returns the mean pinball loss of each row."""
    error = predictions.labels - predictions.logits
    return np.maximum(quantile * error, (quantile - 1) * error).mean(axis=1)


def root_squared_errors(predictions: Predictions) -> np.ndarray:
    """Returns the contributions to the root of the mean squared error."""
    squares = ((predictions.logits - predictions.labels) ** 2).mean(axis=1)
    root = np.sqrt(squares.mean())
    return root + (squares - squares.mean()) / (2 * root if root else 1.0)


def explained(predictions: Predictions) -> np.ndarray:
    """Returns the contributions to R2, mean over the outputs."""
    squares = (predictions.labels - predictions.labels.mean(axis=0)) ** 2
    spread = squares.mean(axis=0)
    spread = np.where(spread, spread, 1)
    errors = (predictions.logits - predictions.labels) ** 2 / spread
    return (1 - errors + errors.mean(axis=0) * (squares / spread - 1)).mean(axis=1)


def ranked(predictions: Predictions) -> np.ndarray:
    """Returns the contributions to the area under the ROC curve (DeLong et al. 1988), mean over the outputs.

    An output for which only one class occurs counts as one half.
    """
    if predictions.task == "multiclass":
        scores, truth = predictions.probabilities, np.eye(predictions.logits.shape[1])[predictions.labels] > 0
    else:
        scores, truth = predictions.logits, predictions.labels.reshape(len(predictions), -1) >= 0.5
    columns = zip(scores.T, truth.T, strict=True)
    return np.mean([_ranked_output(score, positive) for score, positive in columns], axis=0)


def _ranked_output(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    own, others = scores[positive], scores[~positive]
    if not len(own) or not len(others):
        return np.full(len(scores), 0.5)
    below = np.empty(len(scores))
    below[positive] = _share_below(own, np.sort(others))
    below[~positive] = 1 - _share_below(others, np.sort(own))
    area = below[positive].mean()
    return area + (below - area) / np.where(positive, positive.mean(), 1 - positive.mean())


def _share_below(values: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Returns the share of `ordered` that is below each value. Equal numbers count half."""
    sides = [np.searchsorted(ordered, values, side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(ordered))


def of_counts(function: Callable) -> Callable[..., np.ndarray]:
    """Returns the contributions to a function of the counts of each class; see `CountsMetric`."""

    def contributions(predictions: Predictions, **options) -> np.ndarray:
        counts = class_counts(predictions)
        totals = [part.sum(axis=0) for part in counts]
        task, rows = predictions.task, len(predictions)
        value = float(function(*totals, task=task, **options))
        size = max(1, _CELLS // totals[0].size)
        left = []
        for at in range(0, rows, size):
            others = (total - part[at : at + size] for total, part in zip(totals, counts, strict=True))
            left.append(np.asarray(function(*others, task=task, **options)))
        return _moved((rows - 1) * (value - np.concatenate(left)), value)

    return contributions


def class_counts(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns whether each row is a hit, predicted as, and truly of each class: three float64 `(n, k)`."""
    if predictions.task == "multilabel":
        predicted, true = predictions.predicted, predictions.labels >= 0.5
    else:
        classes = np.arange(len(predictions.class_names))
        predicted, true = predictions.predicted[:, None] == classes, predictions.labels[:, None] == classes
    return (predicted & true).astype(float), predicted.astype(float), true.astype(float)


def of_groups(predictions: Predictions, value_of: Callable[[Predictions], float]) -> np.ndarray:
    """Returns the contributions to any metric, by leaving out groups of rows in turn.

    With up to `GROUPS` rows each group is one row.

    Args:
        predictions: Labelled predictions.
        value_of: Function of predictions that returns the metric.
    """
    rows = len(predictions)
    groups = min(rows, GROUPS)
    group = np.random.default_rng(0).permutation(rows) % groups
    value = value_of(predictions)
    left = np.array([value_of(predictions.take(group != i)) for i in range(groups)]) if groups > 1 else value
    # the mean of a group varies less than a row by the root of its size
    influence = np.sqrt(rows / groups) * (groups - 1) * (value - left)
    return _moved(np.broadcast_to(influence, groups)[group], value)


def _moved(influence: np.ndarray, value: float) -> np.ndarray:
    return influence - influence.mean() + value


def best_constant(
    predictions: Predictions, value_of: Callable[[Predictions], float], *, lower: bool
) -> float:
    """Returns the best value of a metric among answers that are the same for every row.

    For classes these are their shares among the labels, and for several labels also "all of them". For
    values they are the mean and the percentiles.

    Args:
        predictions: Labelled predictions.
        value_of: Function of predictions that returns the metric.
        lower: Whether a smaller value is better.
    """
    values = [value_of(_with_answer(predictions, answer)) for answer in _constants(predictions)]
    return float(min(values) if lower else max(values))


def _constants(predictions: Predictions) -> Sequence[np.ndarray]:
    labels = predictions.labels
    if predictions.task == "regression":
        return [labels.mean(axis=0), *np.quantile(labels, np.linspace(0, 1, 101), axis=0)]
    if predictions.task == "multilabel":
        share = np.clip(labels.mean(axis=0), 1e-6, 1 - 1e-6)
        return [np.log(share / (1 - share)), np.ones(labels.shape[1])]
    share = np.bincount(labels, minlength=len(predictions.class_names)) / len(labels)
    logits = np.log(np.maximum(share, 1e-9))
    return [logits if predictions.logits.shape[1] > 1 else logits[1:] - logits[:1]]


def _with_answer(predictions: Predictions, answer: np.ndarray) -> Predictions:
    return Predictions.from_logits(
        np.tile(answer, (len(predictions), 1)), task=predictions.task, labels=predictions.labels,
        class_names=predictions.class_names,
    )  # fmt: skip

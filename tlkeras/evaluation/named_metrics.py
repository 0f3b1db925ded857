"""Metrics by name, which are computed in addition to the usual ones during training and in the evaluation.

All of them are Keras metrics of labels and probabilities, so training, logs and evaluation use the same
definition.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras.config import MetricConfig
from tlkeras.config.data import Task
from tlkeras.errors import UserError
from tlkeras.evaluation import by_rows
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.seed_noise import OF_ERRORS, OF_QUANTILES, OF_R2, OF_RANKINGS, OF_SCORES, SeedNoise
from tlkeras.registry import Registry

_CLASSES: tuple[Task, ...] = ("multiclass", "binary")


@dataclass(frozen=True)
class NamedMetric:
    """A metric that a config can name.

    Attributes:
        summary: Its description in one line.
        tasks: Tasks that have this metric.
        build: Function of the task, the number of outputs and keyword options that returns a Keras metric. A
            multiclass metric takes one-hot labels and probabilities `(batch, classes)`, unless the name of
            its class begins with `Sparse`. A binary or multilabel metric takes labels and probabilities
            `(batch, outputs)`. A regression metric takes true and predicted values `(batch, outputs)`.
        by_row: Function of predictions and the same options that returns the contribution of each row
            (`tlkeras.evaluation.by_rows`), or None if they are found by leaving out rows.
        is_share: Whether the value is a fraction, so that its differences are points.
        seed_noise: How much the metric varies between seeds; see `SeedNoise`.
        is_exact: Whether the Keras metric is exact. If not, an evaluation takes the mean of `by_row`.
    """

    summary: str
    tasks: tuple[Task, ...]
    build: Callable[..., keras.metrics.Metric]
    by_row: Callable[..., np.ndarray] | None = None
    is_share: bool = True
    seed_noise: SeedNoise = OF_SCORES
    is_exact: bool = True


METRICS: Registry[NamedMetric] = Registry("metric")
"""Metrics that `metrics` of a config can name."""


def takes_class_numbers(part: keras.losses.Loss | keras.metrics.Metric) -> bool:
    """Whether a multiclass loss or metric takes class numbers. Its Keras name then begins with `Sparse`."""
    return type(part).__name__.startswith("Sparse")


def pinball(y_true, y_pred, quantile: float):
    """Returns the mean pinball loss over the outputs of each row, `(batch,)` (Koenker and Bassett 1978)."""
    error = ops.cast(y_true, y_pred.dtype) - y_pred
    return ops.mean(ops.maximum(quantile * error, (quantile - 1.0) * error), axis=-1)


class OfLogits(keras.metrics.Metric):
    """Passes labels and logits to a metric in the form that it takes.

    Args:
        metric: Keras metric of labels and probabilities; see `NamedMetric`.
        task: Task of the data.
        outputs: Number of outputs of the model.
        name: Name in logs.
    """

    def __init__(self, metric: keras.metrics.Metric, task: Task, outputs: int, name: str):
        super().__init__(name=name, dtype="float32")
        self.metric, self.task, self.outputs = metric, task, outputs
        self._takes_numbers = takes_class_numbers(metric)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of labels and logits `(batch, outputs)`."""
        y_pred = ops.cast(y_pred, "float32")
        if self.task == "multiclass":
            y_true, y_pred = self._labels(ops.convert_to_tensor(y_true)), ops.softmax(y_pred, axis=-1)
        else:
            y_true = ops.reshape(ops.cast(y_true, "float32"), (-1, self.outputs))
            y_pred = y_pred if self.task == "regression" else ops.sigmoid(y_pred)
        self.metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def _labels(self, labels):
        numbers = len(labels.shape) == 1 or labels.shape[-1] == 1
        if self._takes_numbers:
            return ops.reshape(labels, (-1,)) if numbers else ops.argmax(labels, axis=-1)
        return ops.one_hot(ops.reshape(labels, (-1,)), self.outputs) if numbers else labels

    def result(self):
        """Returns the value of the metric, or the mean of its values."""
        return ops.mean(ops.cast(self.metric.result(), "float32"))

    def reset_state(self):
        """Forgets all batches."""
        self.metric.reset_state()


class CountsMetric(keras.metrics.Metric):
    """A function of the counts of each class.

    Args:
        function: Function `(hits, predicted, true, task)` of float arrays `(..., classes)`: the numbers of
            rows that are rightly predicted as a class, predicted as it, and truly of it. It returns `(...)`.
        task: Task of the data.
        classes: Number of classes, 2 for binary.
        name: Name in logs.
    """

    def __init__(self, function: Callable, task: Task, classes: int, name: str):
        super().__init__(name=name)
        self.function, self.task = function, task
        self.counts = self.add_variable((3, classes), "zeros", name="counts")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of labels and probabilities; see `NamedMetric.build`."""
        if self.task == "multilabel":
            true, predicted = (ops.cast(y >= 0.5, "float32") for y in (y_true, y_pred))
        else:
            true, predicted = (self._one_hot(y) for y in (y_true, y_pred))
        counts = ops.stack([true * predicted, predicted, true])
        if sample_weight is not None:
            counts = counts * ops.reshape(ops.cast(sample_weight, "float32"), (1, -1, 1))
        self.counts.assign_add(ops.sum(counts, axis=1))

    def _one_hot(self, y):
        y = ops.concatenate([1.0 - y, y], axis=-1) if y.shape[-1] == 1 else y
        return ops.one_hot(ops.argmax(y, axis=-1), self.counts.shape[-1])

    def result(self):
        """Returns the value of the function."""
        return self.function(*ops.unstack(ops.convert_to_tensor(self.counts)), task=self.task)


def make_metrics(
    wanted: Sequence[MetricConfig], task: Task, outputs: int, own: Sequence[keras.metrics.Metric] = ()
) -> list[OfLogits]:
    """Returns the metrics of a config for a task, as functions of labels and logits.

    Args:
        wanted: Metrics of the config.
        task: Task of the data.
        outputs: Number of outputs of the model.
        own: Metrics that were passed from Python, which are preferred to registered ones of the same name.

    Raises:
        UserError: There is no such metric, the task does not have it, or it has no such option.
    """
    passed = {metric.name: metric for metric in own}
    return [
        OfLogits(passed.get(config.name) or make_metric(config, task, outputs), task, outputs, config.name)
        for config in wanted
    ]


def make_metric(config: MetricConfig, task: Task, outputs: int) -> keras.metrics.Metric:
    """Returns a registered metric; see `make_metrics`."""
    row = METRICS.get(config.name)
    if task not in row.tasks:
        fitting = [name for name, entry in METRICS.items() if task in entry.tasks]
        raise UserError(
            f"{config.name} is a metric for {' or '.join(row.tasks)}. Allowed for {task}: "
            f"{', '.join(fitting)}. Received: metrics={config.name}"
        )
    try:
        return row.build(task, outputs, **config.options)
    except (TypeError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"Options of the metric {config.name}: {first} Received: {config.options}") from error


def named_values(
    predictions: Predictions, wanted: Sequence[MetricConfig], own: Sequence[keras.metrics.Metric] = ()
) -> dict[str, float]:
    """Returns the values of the metrics of a config on labelled predictions, by name.

    A metric that was passed from Python in an earlier call and not in this one is left out.

    Args:
        predictions: Labelled predictions.
        wanted: Metrics of the config.
        own: Metrics that were passed from Python.
    """
    names = {metric.name for metric in own}
    known = [config for config in wanted if config.name in names or config.name in METRICS]
    return {config.name: _value(predictions, config, own) for config in known}


def _value(predictions: Predictions, config: MetricConfig, own: Sequence[keras.metrics.Metric]) -> float:
    by_row = by_row_of(config, own)
    if by_row is not None and not METRICS.get(config.name).is_exact:
        return float(by_row(predictions).mean())
    (metric,) = make_metrics([config], predictions.task, predictions.logits.shape[1], own)
    metric.reset_state()
    metric.update_state(predictions.labels, predictions.logits.astype(np.float32))
    return float(ops.convert_to_numpy(metric.result()))


def by_row_of(
    config: MetricConfig, own: Sequence[keras.metrics.Metric] = ()
) -> Callable[[Predictions], np.ndarray] | None:
    """Returns the function that gives the contributions of the rows of predictions, or None if unknown."""
    if config.name in {metric.name for metric in own} or config.name not in METRICS:
        return None
    by_row = METRICS.get(config.name).by_row
    if by_row is not None and by_row is by_rows.ranked and config.options:
        return None  # another curve, or thresholds of its own
    return by_row and functools.partial(by_row, **config.options)


def _keras_metric(kind: type[keras.metrics.Metric], **fixed: Any) -> Callable[..., keras.metrics.Metric]:
    return lambda task, outputs, **options: kind(**fixed, **options)


def _accuracy(task: Task, outputs: int) -> keras.metrics.Metric:
    return keras.metrics.CategoricalAccuracy() if task == "multiclass" else keras.metrics.BinaryAccuracy()


def _auc(task: Task, outputs: int, **options: Any) -> keras.metrics.Metric:
    several: Mapping[str, Any] = {"multi_label": True, "num_labels": outputs} if outputs > 1 else {}
    return keras.metrics.AUC(**several, **options)


def _quantile(task: Task, outputs: int, quantile: float = 0.5) -> keras.metrics.Metric:
    return keras.metrics.MeanMetricWrapper(pinball, name="quantile_loss", quantile=quantile)


def _of_counts(function: Callable) -> Callable[..., keras.metrics.Metric]:
    def build(task: Task, outputs: int, **options: Any) -> keras.metrics.Metric:
        wanted = functools.partial(function, **options)
        inspect.signature(wanted).bind(*range(3), task=task)  # an unknown option is a mistake now, not later
        classes = outputs if task == "multilabel" else max(outputs, 2)
        return CountsMetric(wanted, task, classes, function.__name__)

    return build


def f_beta(hits, predicted, true, task: Task, beta: float = 1.0):
    """Returns the F-beta score, mean over the classes. For binary it is that of the second class."""
    scores = ops.divide_no_nan((1 + beta**2) * hits, predicted + beta**2 * true)
    return scores[..., 1] if task == "binary" else ops.mean(scores, axis=-1)


def macro_f1(hits, predicted, true, task: Task):
    """Returns the F1 score, mean over the classes that occur in labels or predictions."""
    return _mean_where(ops.divide_no_nan(2 * hits, predicted + true), predicted + true > 0)


def balanced_accuracy(hits, predicted, true, task: Task):
    """Returns the mean recall of the classes that occur."""
    return _mean_where(ops.divide_no_nan(hits, true), true > 0)


def macro_precision(hits, predicted, true, task: Task):
    """Returns the mean precision of the classes. It is 0 for a class that is never predicted."""
    return ops.mean(ops.divide_no_nan(hits, predicted), axis=-1)


def cohen_kappa(hits, predicted, true, task: Task):
    """Returns the agreement beyond chance (Cohen 1960)."""
    total = ops.sum(true, axis=-1)
    expected = ops.divide_no_nan(ops.sum(predicted * true, axis=-1), total)
    return ops.divide_no_nan(ops.sum(hits, axis=-1) - expected, total - expected)


def matthews_correlation(hits, predicted, true, task: Task):
    """Returns the correlation of true and predicted classes (Matthews 1975; Gorodkin 2004)."""
    total = ops.sum(true, axis=-1)
    covariance = ops.sum(hits, axis=-1) * total - ops.sum(predicted * true, axis=-1)
    spread = [total**2 - ops.sum(side**2, axis=-1) for side in (predicted, true)]
    return ops.divide_no_nan(covariance, ops.sqrt(spread[0] * spread[1]))


def _mean_where(values, occurs):
    occurs = ops.cast(occurs, values.dtype)
    return ops.sum(values * occurs, axis=-1) / ops.maximum(ops.sum(occurs, axis=-1), 1.0)


_WITH_CLASSES: tuple[Task, ...] = (*_CLASSES, "multilabel")
_VALUES: tuple[Task, ...] = ("regression",)
_ERROR: dict[str, Any] = {"is_share": False, "seed_noise": OF_ERRORS}


def _add(
    name: str, tasks: tuple[Task, ...], build: Callable, by_row: Callable, summary: str, **facts
) -> None:
    METRICS.add(name, NamedMetric(summary, tasks, build, by_row, **facts))


_add(
    "accuracy", _WITH_CLASSES, _accuracy, by_rows.right, "Share of right predictions. It is always measured."
)
_add(
    "auc",
    _WITH_CLASSES,
    _auc,
    by_rows.ranked,
    "Area under the ROC curve, mean over the outputs. Logs have it from 200 thresholds.",
    seed_noise=OF_RANKINGS,
    is_exact=False,
)
for _function, _tasks, _summary in (
    (f_beta, _WITH_CLASSES, "F-beta score, mean over the classes; of the second class for binary."),
    (macro_f1, _WITH_CLASSES, "F1 score, mean over the classes that occur."),
    (balanced_accuracy, _CLASSES, "Mean recall of the classes."),
    (macro_precision, _CLASSES, "Mean precision of the classes."),
    (cohen_kappa, _CLASSES, "Agreement beyond chance."),
    (matthews_correlation, _CLASSES, "Correlation of true and predicted classes."),
):
    _add(_function.__name__, _tasks, _of_counts(_function), by_rows.of_counts(_function), _summary)
_add(
    "top_k_categorical_accuracy",
    ("multiclass",),
    _keras_metric(keras.metrics.TopKCategoricalAccuracy),
    by_rows.top_k_hits,
    "Share of rows whose class is among the k most probable (5 unless k is given).",
)
_add(
    "mae",
    _VALUES,
    _keras_metric(keras.metrics.MeanAbsoluteError),
    by_rows.absolute_errors,
    "Mean absolute error. It is always measured.",
    **_ERROR,
)
_add(
    "root_mean_squared_error",
    _VALUES,
    _keras_metric(keras.metrics.RootMeanSquaredError),
    by_rows.root_squared_errors,
    "Root of the mean squared error.",
    **_ERROR,
)
_add(
    "mean_absolute_percentage_error",
    _VALUES,
    _keras_metric(keras.metrics.MeanAbsolutePercentageError),
    by_rows.absolute_percentage_errors,
    "Mean absolute error in per cent of the true value.",
    **_ERROR,
)
_add(
    "r2_score",
    _VALUES,
    _keras_metric(keras.metrics.R2Score),
    by_rows.explained,
    "Share of the variance that the model explains.",
    seed_noise=OF_R2,
)
_add(
    "quantile_loss",
    _VALUES,
    _quantile,
    by_rows.pinball_losses,
    "Pinball loss of a quantile (0.5 unless quantile is given).",
    is_share=False,
    seed_noise=OF_QUANTILES,
)

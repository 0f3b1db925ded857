"""Metrics by name, which are computed in addition to the usual ones during training and in the evaluation.

All of them are Keras metrics of labels and probabilities, so training, logs and evaluation use the same
definition.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tlkeras.config import MetricConfig
from tlkeras.config.data import Task
from tlkeras.errors import UserError
from tlkeras.evaluation.predictions import Predictions
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
    """

    summary: str
    tasks: tuple[Task, ...]
    build: Callable[..., keras.metrics.Metric]


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


class ConfusionMetric(keras.metrics.Metric):
    """A function of the confusion matrix.

    Args:
        function: Function of the matrix, float32 `(classes, classes)` with true classes as rows and
            predicted classes as columns, that returns a scalar.
        classes: Number of classes, 2 for binary.
        name: Name in logs.
    """

    def __init__(self, function: Callable, classes: int, name: str):
        super().__init__(name=name)
        self.function, self.classes = function, classes
        self.matrix = self.add_variable((classes, classes), "zeros", name="matrix")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of labels and probabilities, one-hot or for binary `(batch, 1)`."""
        if y_pred.shape[-1] == 1:
            y_true, y_pred = (ops.concatenate([1.0 - y, y], axis=-1) for y in (y_true, y_pred))
        truth = ops.one_hot(ops.argmax(y_true, axis=-1), self.classes)
        if sample_weight is not None:
            truth = truth * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        predicted = ops.one_hot(ops.argmax(y_pred, axis=-1), self.classes)
        self.matrix.assign_add(ops.matmul(ops.transpose(truth), predicted))

    def result(self):
        """Returns the value of the function."""
        return self.function(ops.convert_to_tensor(self.matrix))


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
    metrics = make_metrics(known, predictions.task, predictions.logits.shape[1], own)
    for metric in metrics:
        metric.reset_state()
        metric.update_state(predictions.labels, predictions.logits.astype(np.float32))
    return {metric.name: float(ops.convert_to_numpy(metric.result())) for metric in metrics}


def _keras_metric(kind: type[keras.metrics.Metric], **fixed: Any) -> Callable[..., keras.metrics.Metric]:
    return lambda task, outputs, **options: kind(**fixed, **options)


def _auc(task: Task, outputs: int, **options: Any) -> keras.metrics.Metric:
    several: Mapping[str, Any] = {"multi_label": True, "num_labels": outputs} if outputs > 1 else {}
    return keras.metrics.AUC(**several, **options)


def _f_beta(task: Task, outputs: int, beta: float = 1.0) -> keras.metrics.Metric:
    threshold = None if task == "multiclass" else 0.5
    return keras.metrics.FBetaScore(average="macro", beta=beta, threshold=threshold)


def _of_confusion(function: Callable) -> Callable[..., keras.metrics.Metric]:
    return lambda task, outputs: ConfusionMetric(function, max(outputs, 2), function.__name__)


def balanced_accuracy(matrix):
    """Returns the mean recall of the classes that occur."""
    rows, hits = ops.sum(matrix, axis=1), ops.diagonal(matrix)
    occurs = ops.cast(rows > 0, "float32")
    return ops.sum(ops.divide_no_nan(hits, rows)) / ops.maximum(ops.sum(occurs), 1.0)


def macro_precision(matrix):
    """Returns the mean precision of the classes. It is 0 for a class that is never predicted."""
    return ops.mean(ops.divide_no_nan(ops.diagonal(matrix), ops.sum(matrix, axis=0)))


def cohen_kappa(matrix):
    """Returns the agreement beyond chance (Cohen 1960)."""
    total = ops.sum(matrix)
    expected = ops.sum(ops.sum(matrix, axis=0) * ops.sum(matrix, axis=1)) / ops.maximum(total, 1.0)
    return ops.divide_no_nan(ops.trace(matrix) - expected, total - expected)


def matthews_correlation(matrix):
    """Returns the correlation of true and predicted classes (Matthews 1975; Gorodkin 2004)."""
    total, predicted, true = ops.sum(matrix), ops.sum(matrix, axis=0), ops.sum(matrix, axis=1)
    covariance = ops.trace(matrix) * total - ops.sum(predicted * true)
    spread = (total**2 - ops.sum(predicted**2)) * (total**2 - ops.sum(true**2))
    return ops.divide_no_nan(covariance, ops.sqrt(spread))


def _quantile(task: Task, outputs: int, quantile: float = 0.5) -> keras.metrics.Metric:
    return keras.metrics.MeanMetricWrapper(pinball, name="quantile_loss", quantile=quantile)


_WITH_CLASSES: tuple[Task, ...] = (*_CLASSES, "multilabel")
_VALUES: tuple[Task, ...] = ("regression",)
for _name, _summary, _tasks, _build in (
    ("auc", "Area under the ROC curve from 200 thresholds, mean over the outputs.", _WITH_CLASSES, _auc),
    ("f_beta", "F-beta score, mean over the classes.", _WITH_CLASSES, _f_beta),
    ("balanced_accuracy", "Mean recall of the classes.", _CLASSES, _of_confusion(balanced_accuracy)),
    ("macro_precision", "Mean precision of the classes.", _CLASSES, _of_confusion(macro_precision)),
    ("cohen_kappa", "Agreement beyond chance.", _CLASSES, _of_confusion(cohen_kappa)),
    (
        "matthews_correlation",
        "Correlation of true and predicted classes.",
        _CLASSES,
        _of_confusion(matthews_correlation),
    ),
    (
        "top_k_categorical_accuracy",
        "Share of rows whose class is among the k most probable (5 unless k is given).",
        ("multiclass",),
        _keras_metric(keras.metrics.TopKCategoricalAccuracy),
    ),
    (
        "root_mean_squared_error",
        "Root of the mean squared error.",
        _VALUES,
        _keras_metric(keras.metrics.RootMeanSquaredError),
    ),
    (
        "mean_absolute_percentage_error",
        "Mean absolute error in per cent of the true value.",
        _VALUES,
        _keras_metric(keras.metrics.MeanAbsolutePercentageError),
    ),
    (
        "r2_score",
        "Share of the variance that the model explains.",
        _VALUES,
        _keras_metric(keras.metrics.R2Score),
    ),
    ("quantile_loss", "Pinball loss of a quantile (0.5 unless quantile is given).", _VALUES, _quantile),
):  # fmt: skip
    METRICS.add(_name, NamedMetric(_summary, _tasks, _build))

"""The loss, the metrics and the form of the labels for each task."""

import keras
import numpy as np
from keras import ops

from tlkeras.config import FitStageConfig
from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.methods.pretext.contrastive import NTXent, pair_found


def wants_one_hot(stage: FitStageConfig, task: str) -> bool:
    """Whether the loss of the stage takes one-hot (soft) labels instead of class numbers."""
    mixes = stage.augment.mixup > 0 or stage.augment.cutmix > 0
    return task == "multiclass" and (mixes or stage.label_smoothing > 0)


def loss_for(stage: FitStageConfig, domain: Domain) -> keras.losses.Loss:
    """Returns the loss on logits for the task of the domain.

    It is the cross-entropy with logits `(batch, classes)` for multiclass, the sigmoid cross-entropy with
    logits `(batch, outputs)` for binary and multilabel, the mean squared error for regression, and NT-Xent
    for pairs of views.

    Raises:
        UserError: There are class weights and the task has no classes, or their number is wrong.
    """
    if domain.draws_pairs:
        loss = NTXent(domain.config.pretext.temperature)
    elif domain.task == "regression":
        loss = keras.losses.MeanSquaredError()
    elif domain.task == "multiclass" and wants_one_hot(stage, domain.task):
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=stage.label_smoothing)
    elif domain.task == "multiclass":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=stage.label_smoothing)
    weights = class_weights(stage, domain)
    return loss if weights is None else ClassWeightedLoss(loss, weights)


def metrics_for(stage: FitStageConfig, domain: Domain) -> list[keras.metrics.Metric]:
    """Returns the metrics of a training. They use sample weights."""
    if domain.draws_pairs:
        return [keras.metrics.MeanMetricWrapper(pair_found, name="accuracy")]
    if domain.task == "regression":
        return [keras.metrics.MeanAbsoluteError(name="mae")]
    if domain.task != "multiclass":
        return [keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")]
    if wants_one_hot(stage, domain.task):
        return [keras.metrics.CategoricalAccuracy(name="accuracy")]
    return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]


def with_label_form(dataset, stage: FitStageConfig, domain: Domain):
    """Returns a dataset of `(x, y, ...)` in which labels are one-hot if the stage needs that."""
    if not wants_one_hot(stage, domain.task):
        return dataset
    classes = domain.num_outputs

    def convert(x, y, *weight):
        return x, y if y.shape.rank == 2 else ops.one_hot(y, classes), *weight

    return dataset.map(convert, num_parallel_calls=-1, deterministic=True)


def class_weights(stage: FitStageConfig, domain: Domain) -> np.ndarray | None:
    """Returns one weight per class. `balanced` is rows / (classes * rows of the class)."""
    if stage.class_weights is None:
        return None
    if domain.task not in ("multiclass", "binary"):
        raise UserError(f"class_weights need classes. Received: task={domain.task}")
    classes = max(domain.num_outputs, 2)
    if stage.class_weights == "balanced":
        labels = np.asarray(domain.splits["train"].labels).astype(int).reshape(-1)
        counts = np.bincount(labels, minlength=classes)
        return (len(labels) / (classes * np.maximum(counts, 1))).astype("float32")
    if len(stage.class_weights) != classes:
        raise UserError(
            f"class_weights must hold one weight for each of {classes} classes. "
            f"Received: {len(stage.class_weights)}"
        )
    return np.asarray(stage.class_weights, "float32")


class ClassWeightedLoss(keras.losses.Loss):
    """A loss in which each row has the weight of its class.

    The weights belong to the loss and are not sample weights, so that metrics stay unweighted.

    Args:
        loss: Keras loss whose values are weighted. Its reduction is used.
        weights: Weights of the classes, float32 `(classes,)`.
    """

    def __init__(self, loss: keras.losses.Loss, weights: np.ndarray):
        super().__init__(name=loss.name, reduction=loss.reduction)
        self.loss = loss
        self.weights = np.asarray(weights, "float32")

    def call(self, y_true, y_pred):
        """Returns the weighted loss of each row, shape `(batch,)`."""
        per_row = self.loss.call(y_true, y_pred)
        y_true = ops.convert_to_tensor(y_true)
        if len(y_true.shape) == 2 and y_true.shape[-1] > 1:
            row_weights = ops.matmul(ops.cast(y_true, "float32"), self.weights[:, None])[:, 0]
        else:
            row_weights = ops.take(self.weights, ops.cast(ops.reshape(y_true, (-1,)), "int32"))
        return per_row * ops.cast(row_weights, per_row.dtype)

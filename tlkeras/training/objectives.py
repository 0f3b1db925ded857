"""The loss, the metrics and the form of the labels for each task."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from tlkeras.config import FitStageConfig
from tlkeras.config.data import Task
from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.evaluation.named_metrics import takes_class_numbers
from tlkeras.methods.pretext.contrastive import NTXent, pair_found
from tlkeras.training.losses import UNSMOOTHED, make_loss, without_smoothing


def wants_one_hot(stage: FitStageConfig, task: Task, own: keras.losses.Loss | None = None) -> bool:
    """Whether the loss of the stage takes one-hot (soft) labels instead of class numbers.

    Args:
        stage: Config of the stage.
        task: Task of the data.
        own: Loss that was passed from Python, or None.
    """
    return task == "multiclass" and not takes_class_numbers(_row_loss(stage, task, own))


def loss_for(
    stage: FitStageConfig, domain: Domain, own: keras.losses.Loss | None = None
) -> keras.losses.Loss:
    """Returns the loss on logits for the task of the domain.

    Unless the stage or the caller names another, it is the cross-entropy with logits `(batch, classes)` for
    multiclass, the sigmoid cross-entropy with logits `(batch, outputs)` for binary and multilabel, the mean
    squared error for regression, and NT-Xent for pairs of views.

    Args:
        stage: Config of the stage.
        domain: Labelled domain that the stage trains.
        own: Loss that was passed from Python and replaces that of the stage, or None.

    Raises:
        UserError: The loss does not fit the task, there are class weights and the task has no classes, or
            their number is wrong, or rows with weights are mixed.
    """
    if domain.draws_pairs:
        loss = NTXent(domain.config.pretext.temperature)
    else:
        loss = _row_loss(stage, domain.task, own)
    mixes = stage.augment.mixup or stage.augment.cutmix
    if mixes and domain.splits["train"].weights is not None:
        raise UserError(
            "The training rows have weights, and mixup and cutmix mix rows of different weights: leave one "
            f"out. Received: stages.{stage.name}.augment"
        )
    return _weighted(loss, stage, domain)


def _weighted(loss: keras.losses.Loss, stage: FitStageConfig, domain: Domain) -> keras.losses.Loss:
    weights = class_weights(stage, domain)
    return loss if weights is None else ClassWeightedLoss(loss, weights)


def _row_loss(stage: FitStageConfig, task: Task, own: keras.losses.Loss | None) -> keras.losses.Loss:
    smoothing, mixes = stage.label_smoothing, stage.augment.mixup > 0 or stage.augment.cutmix > 0
    if own is not None:
        if mixes and task == "multiclass" and takes_class_numbers(own):
            raise UserError(
                "augment.mixup and augment.cutmix make soft labels: pass a loss that takes one-hot labels, "
                f"such as CategoricalCrossentropy. Received: loss={type(own).__name__}"
            )
        if smoothing and smoothing != "recommended":
            raise UserError(
                "A loss that is passed from Python brings its own label smoothing: leave out that of the "
                f"stage. Received: stages.{stage.name}.label_smoothing={smoothing:g}, "
                f"loss={type(own).__name__}"
            )
        return own
    if stage.loss is not None:
        return make_loss(stage.loss.name, task, stage.loss.options, smoothing)
    if task == "multiclass" and not (mixes or smoothing):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return make_loss("mean_squared_error" if task == "regression" else "cross_entropy", task, {}, smoothing)


def metrics_for(
    stage: FitStageConfig,
    domain: Domain,
    own: keras.losses.Loss | None = None,
    further: Sequence[keras.metrics.Metric] = (),
) -> list[keras.metrics.Metric]:
    """Returns the metrics of a training. They use sample weights.

    If the stage smooths labels, its loss without smoothing is one of them.

    Args:
        stage: Config of the stage.
        domain: Labelled domain that the stage trains.
        own: Loss that replaces that of the stage, or None.
        further: Metrics of the experiment; see `make_metrics`.
    """
    if domain.draws_pairs:
        return [keras.metrics.MeanMetricWrapper(pair_found, name="accuracy")]
    found = [_usual_metric(domain.task, wants_one_hot(stage, domain.task, own)), *further]
    if own is None and (plain := without_smoothing(_row_loss(stage, domain.task, own))) is not None:
        plain = _weighted(plain, stage, domain)
        found.append(keras.metrics.MeanMetricWrapper(plain.call, name=UNSMOOTHED))
    return found


def _usual_metric(task: Task, one_hot: bool) -> keras.metrics.Metric:
    if task == "regression":
        return keras.metrics.MeanAbsoluteError(name="mae")
    if task != "multiclass":
        return keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
    if one_hot:
        return keras.metrics.CategoricalAccuracy(name="accuracy")
    return keras.metrics.SparseCategoricalAccuracy(name="accuracy")


def with_label_form(dataset, stage: FitStageConfig, domain: Domain, own: keras.losses.Loss | None = None):
    """Returns a dataset of `(x, y, ...)` in which labels are one-hot if the loss needs that.

    Args:
        dataset: Batches `(x, y, ...)` with class numbers.
        stage: Config of the stage.
        domain: Domain of the rows.
        own: Loss that was passed from Python, or None.
    """
    if domain.draws_pairs or not wants_one_hot(stage, domain.task, own):
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

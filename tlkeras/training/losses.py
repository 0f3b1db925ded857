"""Losses by name, which replace the usual loss of a task."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
from keras import ops

from tlkeras.config.data import Task
from tlkeras.errors import UserError, unknown
from tlkeras.evaluation.named_metrics import pinball
from tlkeras.maybe import MaybeNone
from tlkeras.registry import Registry


@dataclass(frozen=True)
class NamedLoss:
    """A loss that a config can name.

    Attributes:
        summary: Its description in one line.
        classes: Keras loss class for each task that has this loss. Classification losses take logits. A
            multiclass loss takes one-hot labels `(batch, classes)`, unless its name begins with `Sparse`.
    """

    summary: str
    classes: Mapping[str, type[keras.losses.Loss]] = field(repr=False)


LOSSES: Registry[NamedLoss] = Registry("loss")
"""Losses that `stages.N.loss.name` can name."""


RECOMMENDED_SMOOTHING = 0.1
"""Label smoothing that `label_smoothing="recommended"` means, for rows of one class each."""
UNSMOOTHED = "unsmoothed_loss"
"""Name of the metric by which stages with and without label smoothing are compared."""


def make_loss(
    name: str, task: Task, options: Mapping[str, Any], label_smoothing: float | Literal["recommended"]
) -> keras.losses.Loss:
    """Returns the Keras loss of this name for a task.

    Args:
        name: Registered name.
        task: Task of the data.
        options: Keyword arguments of the loss class, e.g. `{"gamma": 2.0}`.
        label_smoothing: Label smoothing of the stage. If it is a number above 0, the loss class must support
            it.

    Raises:
        UserError: The task has no loss of this name, or the class has no such option.
    """
    row = LOSSES.get(name)
    if task not in row.classes:
        fitting = [other for other, entry in LOSSES.items() if task in entry.classes]
        raise UserError(
            f"loss.name={name} is a loss for {' or '.join(row.classes)}. Allowed for {task}: "
            f"{', '.join(fitting)}. Received: loss.name={name}"
        )
    kind = row.classes[task]
    known = inspect.signature(kind).parameters
    taken = set(known) - {"from_logits", "reduction", "name", "dtype", "axis", "label_smoothing"}
    for option in options:
        if option not in taken:
            raise unknown(f"option of the loss {name}", option, taken)
    if label_smoothing == "recommended":
        smooths = task == "multiclass" and "label_smoothing" in known
        label_smoothing = RECOMMENDED_SMOOTHING if smooths else 0.0
    if label_smoothing and "label_smoothing" not in known:
        raise UserError(
            f"The loss {name} has no label smoothing. Received: label_smoothing={label_smoothing:g}"
        )
    fixed = {"from_logits": True, "label_smoothing": label_smoothing}
    try:
        return kind(**options, **{key: value for key, value in fixed.items() if key in known})
    except (TypeError, ValueError) as error:
        raise UserError(
            f"loss.options of {name}: {str(error).splitlines()[0]} Received: {dict(options)}"
        ) from error


def without_smoothing(loss: keras.losses.Loss) -> keras.losses.Loss | MaybeNone:
    """Returns a loss of `make_loss` without its label smoothing, or None if it has none."""
    if not getattr(loss, "label_smoothing", 0.0):
        return None
    return type(loss).from_config({**loss.get_config(), "label_smoothing": 0.0})


class GeneralizedCrossEntropy(keras.losses.Loss):
    """The loss `(1 - p ** q) / q` of the probability p of the true class (Zhang and Sabuncu 2018, equation
    6).

    It is between the cross-entropy (q near 0) and the mean absolute error (q = 1). Wrong labels affect it
    less than they affect the cross-entropy.

    Args:
        q: Exponent in (0, 1].
    """

    def __init__(self, q: float = 0.7, name: str = "generalized_cross_entropy"):
        super().__init__(name=name)
        if not 0 < q <= 1:
            raise ValueError(f"q must be in (0, 1], but is {q}.")
        self.q = q

    def call(self, y_true, y_pred):
        """Returns the loss of each row, `(batch,)`, from one-hot labels and logits `(batch, classes)`."""
        log_p = ops.log_softmax(y_pred, axis=-1)
        of_truth = ops.sum(ops.cast(y_true, log_p.dtype) * log_p, axis=-1)
        return (1.0 - ops.exp(self.q * of_truth)) / self.q


class AsymmetricLoss(keras.losses.Loss):
    """The asymmetric loss for several labels per row (Ridnik et al. 2021, equations 5 to 7).

    Most rows have many easy negatives. This loss gives them less weight than positives.

    Args:
        gamma_negative: Focusing exponent of the negatives, at least 0.
        gamma_positive: Focusing exponent of the positives, at least 0.
        margin: Probability below which a negative is ignored, in 0..1.
    """

    def __init__(
        self,
        gamma_negative: float = 4.0,
        gamma_positive: float = 1.0,
        margin: float = 0.05,
        name: str = "asymmetric",
    ):
        super().__init__(name=name)
        if min(gamma_negative, gamma_positive) < 0 or not 0 <= margin < 1:
            raise ValueError(
                "gamma_negative and gamma_positive must be at least 0, and margin must be in [0, 1)."
            )
        self.gamma_negative, self.gamma_positive, self.margin = gamma_negative, gamma_positive, margin

    def call(self, y_true, y_pred):
        """Returns the mean loss over the labels of each row, `(batch,)`, from labels and logits."""
        y_true = ops.cast(y_true, y_pred.dtype)
        p = ops.sigmoid(y_pred)
        shifted = ops.maximum(p - self.margin, 0.0)
        positive = y_true * (1.0 - p) ** self.gamma_positive * ops.log_sigmoid(y_pred)
        negative = (1.0 - y_true) * shifted**self.gamma_negative * ops.log(1.0 - shifted + 1e-8)
        return -ops.mean(positive + negative, axis=-1)


class QuantileLoss(keras.losses.Loss):
    """The pinball loss, whose minimum is a quantile of the values (Koenker and Bassett 1978).

    Args:
        quantile: Quantile in (0, 1). At 0.5 it is half the mean absolute error.
    """

    def __init__(self, quantile: float = 0.5, name: str = "quantile"):
        super().__init__(name=name)
        if not 0 < quantile < 1:
            raise ValueError(f"quantile must be in (0, 1), but is {quantile}.")
        self.quantile = quantile

    def call(self, y_true, y_pred):
        """Returns the mean loss over the outputs of each row, `(batch,)`."""
        return pinball(y_true, y_pred, self.quantile)


_losses = keras.losses
_BINARY = dict.fromkeys(("binary", "multilabel"), _losses.BinaryCrossentropy)
_BINARY_FOCAL = dict.fromkeys(("binary", "multilabel"), _losses.BinaryFocalCrossentropy)
for _name, _summary, _classes in (
    ("cross_entropy", "Cross-entropy.", {"multiclass": _losses.CategoricalCrossentropy, **_BINARY}),
    (
        "focal",
        "Focal loss, in which well classified rows count less (Lin et al. 2017).",
        {"multiclass": _losses.CategoricalFocalCrossentropy, **_BINARY_FOCAL},
    ),
    (
        "generalized_cross_entropy",
        "Cross-entropy that suffers less from wrong labels (Zhang and Sabuncu 2018).",
        {"multiclass": GeneralizedCrossEntropy},
    ),
    ("hinge", "Hinge loss on the margin to the best other class.", {"multiclass": _losses.CategoricalHinge}),
    (
        "asymmetric",
        "Focal loss with few positives per row (Ridnik et al. 2021).",
        {"multilabel": AsymmetricLoss},
    ),
    ("mean_squared_error", "Mean squared error.", {"regression": _losses.MeanSquaredError}),
    ("mean_absolute_error", "Mean absolute error.", {"regression": _losses.MeanAbsoluteError}),
    (
        "huber",
        "Squared error near 0, absolute error beyond delta (Huber 1964).",
        {"regression": _losses.Huber},
    ),
    ("log_cosh", "Logarithm of the hyperbolic cosine of the error.", {"regression": _losses.LogCosh}),
    (
        "mean_absolute_percentage_error",
        "Mean absolute error in per cent of the true value.",
        {"regression": _losses.MeanAbsolutePercentageError},
    ),
    ("quantile", "Pinball loss, whose minimum is a quantile.", {"regression": QuantileLoss}),
):
    LOSSES.add(_name, NamedLoss(_summary, _classes))

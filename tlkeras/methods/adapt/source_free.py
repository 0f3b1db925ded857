"""Adaptation of a finished model to unlabelled target rows, without its source data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.gradients import recording
from tlkeras.backend.tracing import traced
from tlkeras.errors import UserError
from tlkeras.methods.adapt import alignment
from tlkeras.methods.adapt.domain_statistics import (
    adapt_batch_norm,
    batch_norm_layers,
    measuring,
    with_batch_statistics,
)
from tlkeras.models.cuts.graph import has_layer, inputs_of, output_of
from tlkeras.registry import Registry

WAYS: Registry[type["SourceFree"]] = Registry("way to adapt a finished run")
_NORMALISATION = (
    keras.layers.BatchNormalization,
    keras.layers.LayerNormalization,
    keras.layers.GroupNormalization,
)


@dataclass(frozen=True)
class TargetRows:
    """The unlabelled rows to adapt to.

    Attributes:
        in_order: Function that returns an iterable of batches of all rows in their order, each `(b, ...)`.
        shuffled: Function of an epoch that returns an iterable of `(x, indices)`: batches `(b, ...)` in the
            order of the epoch, and the places `(b,)` of their rows in the first order.
        steps: Number of steps of an epoch.
    """

    in_order: Callable[[], Iterable]
    shuffled: Callable[[int], Iterable]
    steps: int


class SourceFree:
    """The base class of ways to adapt a model in place.

    Args:
        epochs: Number of passes over the target rows.
        learning_rate: Learning rate at the beginning.

    Attributes:
        needs_classes: Whether the loss needs one class per row.
    """

    needs_classes = True

    def __init__(self, epochs: int, learning_rate: float):
        self.epochs, self.learning_rate = epochs, learning_rate

    def check(self, model: keras.Model) -> None:
        """Raises `UserError` if a functional model has nothing that this way could change."""

    def adapt(self, model: keras.Model, rows: TargetRows, log: Callable[[int, float], None]) -> None:
        """Changes the model.

        Args:
            model: Functional model from raw inputs to logits.
            rows: Target rows.
            log: Function of the number of an epoch and its mean loss, called after each epoch.
        """
        raise NotImplementedError


@WAYS.register("adabn")
class AdaBN(SourceFree):
    """Statistics of BatchNormalization from the target rows (Li et al. 2017). Nothing is trained."""

    needs_classes = False

    def __init__(self):
        super().__init__(0, 0.0)

    def check(self, model):
        if not batch_norm_layers(model):
            raise UserError(
                "AdaBN replaces the statistics of BatchNormalization, and this model has none: use tent or "
                "shot. Received: method=adabn"
            )

    def adapt(self, model, rows, log):
        adapt_batch_norm(model, rows.in_order())


@WAYS.register("tent")
class Tent(SourceFree):
    """Entropy minimisation over the scales and shifts of normalisation layers (Wang et al. 2021, section 3).

    BatchNormalization uses the statistics of the batch in each step, and those of all rows afterwards.
    LayerNormalization and GroupNormalization have no statistics, and their scales and shifts train too.

    Args:
        epochs: Number of passes over the target rows.
        learning_rate: Learning rate of Adam.
    """

    def __init__(self, epochs: int = 1, learning_rate: float = 1e-3):
        super().__init__(epochs, learning_rate)

    def check(self, model):
        if not _scales_and_shifts(model):
            raise UserError(
                "TENT trains the scales and shifts of normalisation layers, and this model has none. "
                "Received: method=tent"
            )

    def adapt(self, model, rows, log):
        optimizer = keras.optimizers.Adam(self.learning_rate)
        step = _step(model, optimizer, _scales_and_shifts(model), alignment.entropy)
        with measuring(batch_norm_layers(model)):
            for epoch in range(self.epochs):
                log(epoch, float(np.mean([float(step(x)) for x, _ in rows.shuffled(epoch)])))
        _settle(model, rows)


@WAYS.register("shot")
class Shot(SourceFree):
    """Information maximisation and pseudo-labels, with the classifier fixed (Liang et al. 2020, section 3).

    All layers before the features train, those of the backbone at a tenth of the learning rate, by SGD with
    momentum. Pseudo-labels come from the nearest class centroid and are found again before each epoch.

    Args:
        epochs: Number of passes over the target rows.
        learning_rate: Learning rate of the neck at the beginning. It falls as in the paper's code.
        pseudo: Weight of the cross-entropy with pseudo-labels, beta in the paper.
    """

    def __init__(self, epochs: int = 15, learning_rate: float = 1e-2, pseudo: float = 0.3):
        super().__init__(epochs, learning_rate)
        self.pseudo = pseudo

    def check(self, model):
        if not has_layer(model, "features"):
            raise UserError(
                "SHOT keeps the classifier and trains the layers before it, and this model has no layer "
                "`features` that separates them. Received: method=shot"
            )
        if not _before_features(model):
            raise UserError(
                "SHOT trains the layers before the classifier, and this model has no weights there. "
                "Received: method=shot"
            )

    def adapt(self, model, rows, log):
        variables = _before_features(model)
        rate = _Falling(self.learning_rate, self.epochs * rows.steps)
        optimizer = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        factors = [1.0 if variable.path.startswith("neck_") else 0.1 for variable in variables]
        step = _step(model, optimizer, variables, self._loss, factors)
        outputs = keras.Model(inputs_of(model), [output_of(model, "features"), model.outputs[0]])
        for epoch in range(self.epochs):
            _settle(model, rows)
            labels = pseudo_labels(*_outputs(outputs, rows))
            with measuring(batch_norm_layers(model)):
                losses = [float(step(x, ops.convert_to_tensor(labels[i]))) for x, i in rows.shuffled(epoch)]
            log(epoch, float(np.mean(losses)))
        _settle(model, rows)

    def _loss(self, logits, labels):
        mean = ops.mean(ops.softmax(logits), axis=0)
        diversity = -ops.sum(mean * ops.log(mean + 1e-5))
        wrong = ops.mean(ops.sparse_categorical_crossentropy(labels, logits, from_logits=True))
        return alignment.entropy(logits) - diversity + self.pseudo * wrong


class _Falling(keras.optimizers.schedules.LearningRateSchedule):
    """The schedule `rate * (1 + 10 p) ** -0.75`, where p goes from 0 to 1 (Ganin et al. 2016, 5.2.2)."""

    def __init__(self, rate: float, steps: int):
        self.rate, self.steps = rate, max(steps, 1)

    def __call__(self, step):
        return self.rate * (1 + 10 * ops.cast(step, "float32") / self.steps) ** -0.75

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps}


def pseudo_labels(features: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Returns class numbers int32 `(n,)` by the nearest centroid (Liang et al. 2020, eq. 5 and 6).

    The centroids are means weighted by the probabilities, and then means of the rows that they attract.
    Distances are cosine distances, to features with a constant 1 as in the authors' code. Classes that no row
    is predicted as get no rows.

    Args:
        features: Features, `(n, d)`.
        logits: Logits, `(n, classes)`.
    """
    rows = _unit(np.concatenate([features, np.ones((len(features), 1))], axis=1).astype(np.float64))
    classes = logits.shape[1]
    shares = np.asarray(ops.softmax(logits.astype(np.float64)))
    absent = np.bincount(logits.argmax(axis=1), minlength=classes) == 0

    def nearest(shares):
        similarity = rows @ _unit(shares.T @ rows).T
        similarity[:, absent] = -np.inf
        return similarity.argmax(axis=1)

    return nearest(np.eye(classes)[nearest(shares)]).astype(np.int32)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _step(model, optimizer, variables, loss_of, factors=None) -> Callable:
    """Returns a traced training step `(x, ...) -> loss`, in which BatchNormalization uses the batch.

    Args:
        model: Functional model from raw inputs to logits.
        optimizer: Optimizer of the variables.
        variables: Variables that train.
        loss_of: Function of logits `(b, classes)` and of the further arguments of the step.
        factors: Factor of the gradient of each variable, or None for 1.
    """
    optimizer.build(variables)

    def step(x, *more):
        with recording(*(variable.value for variable in variables)) as tape:
            loss = loss_of(as_classes(with_batch_statistics(model, x)), *more)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        if factors is not None:
            gradients = [g if g is None else g * f for g, f in zip(gradients, factors, strict=True)]
        pairs = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
        optimizer.apply_gradients(pairs)
        return loss

    return traced(step)


def as_classes(logits):
    """Returns float32 logits `(b, classes)`. The single logit of a binary task becomes two."""
    logits = ops.cast(logits, "float32")
    return logits if logits.shape[-1] > 1 else ops.concatenate([ops.zeros_like(logits), logits], axis=-1)


def _settle(model: keras.Model, rows: TargetRows) -> None:
    """Gives BatchNormalization, if there is any, the statistics of all rows."""
    if batch_norm_layers(model):
        adapt_batch_norm(model, rows.in_order())


def _outputs(model: keras.Model, rows: TargetRows) -> tuple[np.ndarray, np.ndarray]:
    """Returns the features and logits of all rows in their order."""
    found = [model.predict_on_batch(x) for x in rows.in_order()]
    features, logits = (np.concatenate(part) for part in zip(*found, strict=True))
    return features, np.asarray(as_classes(logits))


def _scales_and_shifts(model: keras.Model) -> list:
    """Returns gamma and beta of all normalisation layers."""
    layers = [layer for layer in compat.flat_layers(model) if isinstance(layer, _NORMALISATION)]
    pairs = [(layer.gamma, layer.beta) for layer in layers]
    return [variable for pair in pairs for variable in pair if variable is not None]


def _before_features(model: keras.Model) -> list:
    """Returns the weights before the layer `features`, without statistics."""
    encoder = keras.Model(inputs_of(model), output_of(model, "features"))
    statistics = {
        id(v) for layer in batch_norm_layers(model) for v in (layer.moving_mean, layer.moving_variance)
    }
    kinds = (keras.layers.Normalization, keras.layers.Rescaling)
    return [
        variable
        for layer in compat.flat_layers(encoder)
        if not isinstance(layer, kinds)
        for variable in layer.variables
        if id(variable) not in statistics and variable.dtype.startswith("float")
    ]

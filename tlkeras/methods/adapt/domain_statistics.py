"""BatchNormalization with two domains: separate statistics, or target statistics after the training."""

from collections.abc import Iterable
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.tracing import traced
from tlkeras.errors import UserError
from tlkeras.models.cuts.graph import replay


def batch_norm_layers(model) -> list[keras.layers.BatchNormalization]:
    """Returns every BatchNormalization layer in `model`, in order."""
    return [x for x in compat.flat_layers(model) if isinstance(x, keras.layers.BatchNormalization)]


class DomainStatistics(keras.layers.Layer):
    """Separate BatchNormalization statistics for the source (Chang et al. 2019, section 3).

    The model has the statistics of the target, with which it is saved. Gamma and beta are shared. The
    statistics are exchanged during the source part of a step and in the context `source()`.

    Args:
        model: Model with BatchNormalization layers.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="source_statistics")
        layers = batch_norm_layers(model)
        if not layers:
            raise UserError(
                "adaptation.batch_norm='domain_specific' needs BatchNormalization layers. "
                "Received: a model without any. Use 'shared'."
            )
        live = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
        self.live = lambda: live  # Keras would track a list as variables of this layer
        self.kept = [
            self.add_weight(
                shape=v.shape, dtype=v.dtype, trainable=False, autocast=False, aggregation="mean",
                name=f"statistic_{index}",
            )
            for index, v in enumerate(live)
        ]  # fmt: skip
        for kept, variable in zip(self.kept, live, strict=True):
            kept.assign(variable)
        self.built = True

    def exchange(self) -> None:
        """Exchanges the stored statistics with those of the model."""
        for kept, live in zip(self.kept, self.live(), strict=True):
            before = live + 0.0  # a copy of the value
            live.assign(kept)
            kept.assign(before)

    @contextmanager
    def source(self):
        """Context in which the model normalises with the source statistics, e.g. for validation."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()


def adapt_batch_norm(model: keras.Model, batches: Iterable) -> None:
    """Replaces all BatchNormalization statistics by those of the target (AdaBN, Li et al. 2016).

    The model is changed in place. Its weights, gamma and beta stay as they are.

    All other layers run in inference mode. Means and variances are pooled over the rows of all
    batches, so that the batch size has little influence. In the single pass, each layer normalises by its
    batch.

    Args:
        model: Functional model with BatchNormalization, e.g. `TransferModel.to_functional()`.
        batches: Batches of unlabelled target inputs, each `(n, ...)` as the model takes it, for example from
            a `tf.data.Dataset` without labels. They are read once.

    Raises:
        UserError: The model has no BatchNormalization, or there is no batch.
    """
    layers = batch_norm_layers(model)
    if not layers:
        raise UserError("AdaBN needs BatchNormalization layers. Received: a model without any.")
    measured = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    with measuring(layers):
        run = traced(lambda x: with_batch_statistics(model, x))
        seen, rows = [], []
        for batch in batches:
            run(ops.convert_to_tensor(batch))
            rows.append(len(batch))
            seen.append([ops.convert_to_numpy(v) for v in measured])
    if not seen:
        raise UserError("AdaBN needs at least one batch of the target. Received: none.")
    for index in range(0, len(measured), 2):
        means = np.stack([values[index] for values in seen])
        variances = np.stack([values[index + 1] for values in seen])
        mean = np.average(means, axis=0, weights=rows)
        measured[index].assign(mean)
        measured[index + 1].assign(np.average(variances + np.square(means - mean), axis=0, weights=rows))


def with_batch_statistics(model: keras.Model, x):
    """Runs a functional model with only its BatchNormalization layers in training mode."""

    def instead(operation):
        if isinstance(operation, keras.layers.BatchNormalization):
            return lambda *args, **kwargs: operation(*args, **(kwargs | {"training": True}))
        if isinstance(operation, keras.Model):
            return lambda x, **_: replay(operation, x, instead)
        return operation

    return replay(model, x, instead)


@contextmanager
def measuring(layers):
    """Context in which the moving statistics of each layer become those of the last batch."""
    before = [(layer.trainable, layer.momentum) for layer in layers]
    for layer in layers:
        layer.trainable, layer.momentum = True, 0.0
    try:
        yield
    finally:
        for layer, (trainable, momentum) in zip(layers, before, strict=True):
            layer.trainable, layer.momentum = trainable, momentum

"""The exponential moving average of the weights: used for validation and for what is saved."""

import contextlib

import keras
import tensorflow as tf

from tlkeras.backend import compat


def average_of(optimizer):
    """Returns the pairs (model variable, its moving average); empty where the optimizer keeps none."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not getattr(optimizer, "use_ema", False) or not optimizer.built:
        return []
    return compat.moving_averages(optimizer)


def swap_average(optimizer):
    """Exchanges the model's weights and their moving average, exactly, on every device.

    `keras.callbacks.SwapEMAWeights` adds and subtracts instead, which rounds: weights then differ after
    each validation. Does nothing without a moving average, or before the first update.
    """
    pairs = average_of(optimizer)
    if pairs and _updates(optimizer) > 0:
        for variable, average in pairs:
            _update_both(variable, average, _exchange)


def adopt_average(optimizer):
    """Sets the model's weights to their moving average: at the end of a stage."""
    pairs = average_of(optimizer)
    if pairs and _updates(optimizer) > 0:
        for variable, average in pairs:
            _update_both(variable, average, lambda weight, mean: weight.assign(mean))


@contextlib.contextmanager
def averaged_weights(optimizer):
    """Context in which the model has its averaged weights; no-op where there is no average.

    Example:
        >>> with averaged_weights(model.optimizer):
        ...     model.evaluate(batches)
    """
    swap_average(optimizer)
    try:
        yield
    finally:
        swap_average(optimizer)


class ValidateAverage(keras.callbacks.Callback):
    """Lets validation inside `fit`, `evaluate` and `predict` see the averaged weights.

    Training goes on from the weights themselves, bit for bit. Checkpoints written between steps or at the
    end of an epoch hold both, and need nothing more.
    """

    def on_test_begin(self, logs=None):
        swap_average(self.model.optimizer)

    def on_test_end(self, logs=None):
        swap_average(self.model.optimizer)

    def on_predict_begin(self, logs=None):
        swap_average(self.model.optimizer)

    def on_predict_end(self, logs=None):
        swap_average(self.model.optimizer)


def _updates(optimizer) -> int:
    """Returns how many updates the optimizer has made."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return int(compat.update_count(optimizer).numpy()) // (optimizer.gradient_accumulation_steps or 1)


def _exchange(weight, mean):
    old = tf.identity(weight)
    weight.assign(mean)
    mean.assign(old)


def _update_both(variable, average, function):
    """Calls `function` with both variables' copies on each device."""
    variable = getattr(variable, "value", variable)
    average = getattr(average, "value", average)
    extended = tf.distribute.get_strategy().extended
    if hasattr(variable, "distribute_strategy") and variable.distribute_strategy is not None:
        extended = variable.distribute_strategy.extended
    extended.update(variable, function, args=(average,))

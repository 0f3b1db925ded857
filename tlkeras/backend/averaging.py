"""The exponential moving average of the weights, for validation and for the saved model."""

import contextlib

import keras
import tensorflow as tf

from tlkeras.backend import compat


def average_of(optimizer):
    """Returns pairs (model variable, moving average). The list is empty if the optimizer has no averages."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if optimizer is None or not getattr(optimizer, "use_ema", False) or not optimizer.built:
        return []
    return compat.moving_averages(optimizer)


def swap_average(optimizer):
    """Exchanges the weights of the model and their moving averages exactly, on every device.

    `keras.callbacks.SwapEMAWeights` adds and subtracts, so that rounding changes the weights after each
    validation. The function does nothing without a moving average, or before the first update.
    """
    pairs = average_of(optimizer)
    if pairs and _updates(optimizer) > 0:
        for variable, average in pairs:
            _update_both(variable, average, _exchange)


def adopt_average(optimizer):
    """Sets the weights of the model to their moving averages, at the end of a stage."""
    pairs = average_of(optimizer)
    if pairs and _updates(optimizer) > 0:
        for variable, average in pairs:
            _update_both(variable, average, lambda weight, mean: weight.assign(mean))


@contextlib.contextmanager
def averaged_weights(optimizer):
    """Context in which the model has its averaged weights. Without averages it has no effect.

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
    """Uses the averaged weights in validation, `evaluate` and `predict`.

    Training continues from the exact weights. Checkpoints between steps or at the end of an epoch contain
    both.
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
    """Returns the number of updates of the optimizer."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return int(compat.update_count(optimizer).numpy()) // (optimizer.gradient_accumulation_steps or 1)


def _exchange(weight, mean):
    old = tf.identity(weight)
    weight.assign(mean)
    mean.assign(old)


def _update_both(variable, average, function):
    """Calls `function` on each device with the copies of both variables."""
    variable = getattr(variable, "value", variable)
    average = getattr(average, "value", average)
    extended = tf.distribute.get_strategy().extended
    if hasattr(variable, "distribute_strategy") and variable.distribute_strategy is not None:
        extended = variable.distribute_strategy.extended
    extended.update(variable, function, args=(average,))

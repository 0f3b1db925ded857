"""Wraps the callbacks that a caller passes into one callback of a stage that can resume."""

from typing import Any

import keras

from tlkeras import messages
from tlkeras.training.callbacks import StepCounter

_OF_KERAS = {"params", "_model", "validation_data", "_supports_tf_logs"}


class OwnCallbacks(keras.callbacks.Callback):
    """Calls the callbacks of a caller, except for batches that an earlier process has already trained.

    If a callback has `get_state()`, which returns JSON values, and `set_state(state)`, it resumes with its
    state. In the middle of an epoch, the state replaces the call of `on_epoch_begin`.

    Args:
        callbacks: Keras callbacks, in the order of their calls.
        counter: `StepCounter` of the stage.
        states: Value of `states()` in an earlier process, or None.
    """

    def __init__(self, callbacks: tuple[Any, ...], counter: StepCounter, states: list | None = None):
        super().__init__()
        self.callbacks = callbacks
        self.counter = counter
        self._restored = states
        self._within_epoch = counter.first_step > counter.first_epoch * counter.steps.per_epoch

    def states(self) -> list:
        """Returns the state of each callback, or None for those that have no `get_state`."""
        return [
            callback.get_state() if hasattr(callback, "get_state") else None for callback in self.callbacks
        ]

    def set_model(self, model):
        super().set_model(model)
        self._call("set_model", model)

    def set_params(self, params):
        super().set_params(params)
        self._call("set_params", params)

    def on_train_begin(self, logs=None):
        self._call("on_train_begin", logs)
        if not self._within_epoch:
            self._restore()

    def on_train_end(self, logs=None):
        self._call("on_train_end", logs)

    def on_epoch_begin(self, epoch, logs=None):
        if self._within_epoch:
            self._within_epoch = False
            self._restore()
        else:
            self._call("on_epoch_begin", epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._call("on_epoch_end", epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        if self.counter.epoch * self.counter.steps.per_epoch + batch >= self.counter.first_step:
            self._call("on_train_batch_begin", batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self.counter.is_replay:
            self._call("on_train_batch_end", batch, logs)

    def on_test_begin(self, logs=None):
        self._call("on_test_begin", logs)

    def on_test_end(self, logs=None):
        self._call("on_test_end", logs)

    def on_test_batch_begin(self, batch, logs=None):
        self._call("on_test_batch_begin", batch, logs)

    def on_test_batch_end(self, batch, logs=None):
        self._call("on_test_batch_end", batch, logs)

    def _restore(self) -> None:
        for callback, state in zip(self.callbacks, self._restored or (), strict=False):
            if state is not None:
                callback.set_state(state)
        self._restored = None

    def _call(self, hook: str, *args) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(*args)


def watch_batches(callbacks: tuple[Any, ...]) -> bool:
    """Whether a callback has a method for single batches, so that each step must be a separate call."""
    hooks = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    plain = keras.callbacks.Callback
    return any(
        hook in vars(callback) or getattr(type(callback), hook) is not getattr(plain, hook)
        for callback in callbacks
        for hook in hooks
    )


def warn_of_lost_state(callbacks: tuple[Any, ...]) -> None:
    """Warns about callbacks that seem to have a state that a resumed run would lose."""
    lost = [
        type(callback).__name__
        for callback in callbacks
        if not hasattr(callback, "get_state")
        and not isinstance(callback, keras.callbacks.LambdaCallback)
        and set(vars(callback)) - _OF_KERAS
    ]
    if lost:
        messages.warn(
            f"A resumed run does not restore the attributes of {', '.join(lost)}: give the callback "
            "get_state() and set_state(state) if it depends on earlier epochs."
        )

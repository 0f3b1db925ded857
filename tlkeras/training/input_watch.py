"""A note for the user if a stage spends seconds waiting for its data."""

import time

import keras
import numpy as np

from tlkeras import messages

# If reading takes more than this fraction of a step, the step waits for the pipeline.
BOUND = 0.9
# No note is printed if reading costs the stage fewer seconds than this.
WORTH_SAYING_SECONDS = 5.0
_WARM, _PROBED, _FEWEST_STEPS = 2, 10, 20


class InputWatch(keras.callbacks.Callback):
    """Compares the time of a step with that of the pipeline alone, once, at the end of an epoch.

    The time of a step is the median over all calls but the first, which traces. Short epochs are combined
    until there are twenty steps. Images in memory are decoded by then, so the result holds for later epochs.
    A call is timed correctly only if its loss is read, which `LossGuard` does.

    Args:
        title: Text before the message.
        make_data: Function that makes the batches of the stage again. They are read and not trained on.
        steps: Number of steps of the stage.
        passed_over: Number of steps at the beginning of the first epoch that an earlier process did.
    """

    def __init__(self, title: str, make_data, steps: int, passed_over: int = 0):
        super().__init__()
        self.title = title
        self.make_data = make_data
        self.steps = steps
        self.passed_over = passed_over
        self.ratio: float | None = None
        self._asked = self._traced = False
        self._seconds: list[float] = []  # seconds of each timed step
        self._done = 0  # finished batches of this epoch

    def on_epoch_begin(self, epoch, logs=None):
        self._done, self._last = 0, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now, steps = time.perf_counter(), batch + 1 - self._done
        if batch >= self.passed_over:
            if self._traced and not self._asked:
                self._seconds += steps * [(now - self._last) / steps]
            self._traced = True
        self._done, self._last = batch + 1, now

    def on_epoch_end(self, epoch, logs=None):
        self.passed_over = 0
        if self._asked or len(self._seconds) < _FEWEST_STEPS:
            return
        self._asked = True
        step = float(np.median(self._seconds))
        batch = _seconds_per_batch(self.make_data())
        if batch is None:
            return
        self.ratio = batch / step
        if (note := reading_note(batch, step, self.steps)) is not None:
            messages.note(f"{self.title}: {note}; `tlkeras profile` shows the parts.")


def reading_note(batch: float, step: float, steps: int) -> str | None:
    """Returns a note if the steps of a stage wait for their data for some seconds in total, else None.

    Args:
        batch: Seconds to read a batch.
        step: Seconds of a step.
        steps: Number of steps of the stage.
    """
    if batch <= BOUND * step or batch * steps < WORTH_SAYING_SECONDS:
        return None
    return (
        f"Reading the input takes most of the time: {1e3 * batch:.1f} ms a batch, where a step takes "
        f"{1e3 * step:.1f} ms; about {batch * steps:.0f} s in the {steps:,} steps of this stage. More "
        "data.memory_mb, smaller files or more cores would help"
    )


def _seconds_per_batch(data) -> float | None:
    """Returns the seconds to read a batch, or None if there are fewer than twelve batches."""
    batches = iter(data)
    read, began = 0, 0.0
    for read, _ in enumerate(batches, start=1):
        if read == _WARM:
            began = time.perf_counter()
        if read == _WARM + _PROBED:
            return (time.perf_counter() - began) / _PROBED
    return None

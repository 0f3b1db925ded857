"""Says so where a stage waits for its data, and that costs seconds."""

import time

import keras
import numpy as np

from tlkeras import messages

# Of the time of a step; above it, the pipeline alone keeps the step waiting.
BOUND = 0.9
# Reading that costs a stage fewer seconds than this is nothing to act on.
WORTH_SAYING_SECONDS = 5.0
_WARM, _PROBED, _FEWEST_STEPS = 2, 10, 20


class InputWatch(keras.callbacks.Callback):
    """Compares the time of a step with that of the pipeline alone, once, at an epoch's end.

    A step's time is the median over the calls after the first, which traces; short epochs are counted
    together until they come to twenty steps. Images that are kept in memory are decoded by then, so what is
    said holds for the epochs to come. The time of a call is its own only where something reads its loss, as
    `LossGuard` does.

    Args:
        title: Stands before the message.
        make_data: Makes the stage's batches anew; they are read, not trained on.
        steps: Steps of the whole stage.
        passed_over: Steps at the beginning of the first epoch that an earlier process did.
    """

    def __init__(self, title: str, make_data, steps: int, passed_over: int = 0):
        super().__init__()
        self.title = title
        self.make_data = make_data
        self.steps = steps
        self.passed_over = passed_over
        self.ratio: float | None = None
        self._asked = self._traced = False
        self._seconds: list[float] = []  # of each timed step
        self._done = 0  # batches of this epoch

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
    """Returns what to say where a stage's steps wait for their data for seconds in all, else None.

    Args:
        batch: Seconds to read a batch.
        step: Seconds of a step.
        steps: Steps of the stage.
    """
    if batch <= BOUND * step or batch * steps < WORTH_SAYING_SECONDS:
        return None
    return (
        f"Reading the input takes most of the time: {1e3 * batch:.1f} ms a batch, where a step takes "
        f"{1e3 * step:.1f} ms; about {batch * steps:.0f} s in the {steps:,} steps of this stage. More "
        "data.memory_mb, smaller files or more cores would help"
    )


def _seconds_per_batch(data) -> float | None:
    """Returns what a batch takes to read, or None where there are fewer than twelve."""
    batches = iter(data)
    read, began = 0, 0.0
    for read, _ in enumerate(batches, start=1):
        if read == _WARM:
            began = time.perf_counter()
        if read == _WARM + _PROBED:
            return (time.perf_counter() - began) / _PROBED
    return None

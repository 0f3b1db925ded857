"""Says so where a stage waits for its data."""

import time

import keras
import numpy as np

# Of the time of a step; above it, the pipeline alone keeps the step waiting.
BOUND = 0.9
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
        passed_over: Steps at the beginning of the first epoch that an earlier process did.
    """

    def __init__(self, title: str, make_data, passed_over: int = 0):
        super().__init__()
        self.title = title
        self.make_data = make_data
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
        if self.ratio > BOUND:
            print(
                f"{self.title}: the input is the wall: a batch takes {1e3 * batch:.1f} ms to read, a step "
                f"{1e3 * step:.1f} ms. More data.memory_mb, smaller files or more cores would help; "
                "`tlkeras profile` shows the parts.",
                flush=True,
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

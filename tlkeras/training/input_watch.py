"""Says so where a stage waits for its data."""

import time

import keras

# Of the time of a step; above it, the pipeline alone keeps the step waiting.
BOUND = 0.9
_WARM, _PROBED, _FEWEST_STEPS = 2, 10, 20


class InputWatch(keras.callbacks.Callback):
    """Compares the time of a step with that of the pipeline alone, once, after the stage's first epoch.

    Images that are kept in memory are decoded by then, so what is said holds for the epochs to come.

    Args:
        title: Stands before the message.
        make_data: Makes the stage's batches anew; they are read, not trained on.
    """

    def __init__(self, title: str, make_data):
        super().__init__()
        self.title = title
        self.make_data = make_data
        self._asked = False
        self.ratio: float | None = None

    def on_epoch_begin(self, epoch, logs=None):
        self._steps, self._began = 0, time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self._steps, self._ended = batch + 1, time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        if self._asked or self._steps < _FEWEST_STEPS:
            return
        self._asked = True
        step = (self._ended - self._began) / self._steps
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
    batches = iter(data)
    read, began = 0, 0.0
    for read, _ in enumerate(batches, start=1):
        if read == _WARM:
            began = time.perf_counter()
        if read == _WARM + _PROBED:
            return (time.perf_counter() - began) / _PROBED
    return None

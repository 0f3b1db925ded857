"""The learning-rate range test of Smith (2017), "Cyclical learning rates", section 3.3."""

from pathlib import Path

import keras
import numpy as np

from tlkeras.config import ScheduleConfig
from tlkeras.training import snapshots
from tlkeras.training.stages import Steps

FIRST_RATE, LAST_RATE = 1e-6, 1.0
TEST_STEPS = 100
SMOOTHED_STEPS = 10  # the smoothed loss averages over about this many steps


def find_learning_rate(stage) -> float:
    """Returns a peak learning rate for a stage. Weights, statistics and seeds are restored afterwards.

    The rate grows exponentially from 1e-6 to 1 over 100 steps, or until the smoothed loss is four times its
    minimum. The result is the rate at which the smoothed loss falls fastest. The curve is written to
    `learning_rate.csv` of the stage. If the file exists, the result is computed from it, so that a resumed
    run continues with the same rate.

    Args:
        stage: `FitStage` whose variables are selected in the model.
    """
    path = curve_of(stage)
    rows = stage.run_dir.read_rows(path)
    if not rows:
        rates, losses = _range_test(stage)
        chosen = steepest(rates, losses)
        rows = [
            {"learning_rate": repr(rate), "loss": repr(loss), "chosen": int(rate == chosen)}
            for rate, loss in zip(rates, losses, strict=True)
        ]
        stage.run_dir.write_rows(path, rows)
    return next(float(row["learning_rate"]) for row in rows if int(row["chosen"]))


def curve_of(stage) -> Path:
    """Returns the path of the curve of a stage's range test."""
    return stage.folder / "learning_rate.csv"


def steepest(rates: list[float], losses: list[float]) -> float:
    """Returns the rate at which the smoothed loss falls fastest, between step ten and its minimum.

    Args:
        rates: Learning rates in rising order.
        losses: Loss of the step at each rate.
    """
    smoothed = smooth(losses)
    lowest = max(int(np.argmin(smoothed)), 2)
    slopes = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    # the first averages cover few steps and vary with the batches
    settled = min(SMOOTHED_STEPS, lowest - 1)
    return rates[settled + int(np.argmin(slopes[settled:]))]


def smooth(losses: list[float], momentum: float = 1 - 1 / SMOOTHED_STEPS) -> np.ndarray:
    """Returns the exponential moving average of the losses, corrected for its start."""
    average, smoothed = 0.0, []
    for i, loss in enumerate(losses, start=1):
        average = momentum * average + (1 - momentum) * loss
        smoothed.append(average / (1 - momentum**i))
    return np.asarray(smoothed)


def _range_test(stage) -> tuple[list[float], list[float]]:
    changed = {"learning_rate": FIRST_RATE, "schedule": ScheduleConfig()}
    optimizer = stage.config.optimizer.model_copy(update=changed)
    config = stage.config.model_copy(update={"optimizer": optimizer, "steps_per_execution": 1})
    steps = Steps(total=TEST_STEPS, per_epoch=TEST_STEPS, epochs=1)
    named = snapshots.named_variables(stage.model)
    before = snapshots.capture(named)
    ramp = _Ramp()
    with stage.runtime.scope():
        trainee = stage.compile(config, steps)
    batches = stage.training_data(config, steps, 0, trainee)
    trainee.fit(batches, steps_per_epoch=TEST_STEPS, callbacks=[ramp], shuffle=False, verbose=0)
    snapshots.restore(named, before)
    return ramp.rates, ramp.losses


class _Ramp(keras.callbacks.Callback):
    """Raises the learning rate with every step and records the losses."""

    def __init__(self):
        super().__init__()
        self.rates: list[float] = []
        self.losses: list[float] = []
        self._sum = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        share = batch / (TEST_STEPS - 1)
        rate = float(FIRST_RATE * (LAST_RATE / FIRST_RATE) ** share)
        self.model.optimizer.learning_rate = rate
        self.rates.append(rate)

    def on_train_batch_end(self, batch, logs=None):
        # Keras logs the mean over the epoch so far, so the loss of a step is a difference of two sums
        total = float((logs or {})["loss"]) * (batch + 1)
        loss, self._sum = total - self._sum, total
        if not np.isfinite(loss):
            self.rates.pop()
            self.model.stop_training = True
            return
        self.losses.append(loss)
        smoothed = smooth(self.losses)
        if len(smoothed) > 10 and smoothed[-1] > 4 * smoothed.min():
            self.model.stop_training = True

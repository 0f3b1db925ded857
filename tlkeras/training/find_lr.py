"""A learning rate by the range test of Smith (2017), "Cyclical learning rates", section 3.3."""

from pathlib import Path

import keras
import numpy as np

from tlkeras.training import snapshots
from tlkeras.training.stages import Steps

FIRST_RATE, LAST_RATE = 1e-6, 1.0
TEST_STEPS = 100
SMOOTHED_STEPS = 10  # about as many steps count in the smoothed loss


def find_learning_rate(stage) -> float:
    """Returns a peak learning rate for a stage; weights, statistics and seeds are as before.

    The rate grows exponentially from 1e-6 to 1 over 100 steps, or until the smoothed loss is four times
    its lowest. Chosen is the rate at which the smoothed loss falls fastest. The curve is kept in the
    stage's `learning_rate.csv`; where that exists, its choice is taken again, so that a resumed run
    goes on with the same rate.

    Args:
        stage: A `FitStage` whose variables are selected in the model.
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
    """Returns where the curve of a stage's range test lies."""
    return stage.folder / "learning_rate.csv"


def steepest(rates: list[float], losses: list[float]) -> float:
    """Returns the rate at which the smoothed loss falls fastest: after ten steps, before its lowest point.

    Args:
        rates: Learning rates in rising order.
        losses: The loss of the step at each rate.
    """
    smoothed = smooth(losses)
    lowest = max(int(np.argmin(smoothed)), 2)
    slopes = np.gradient(smoothed[: lowest + 1], np.log(rates[: lowest + 1]))
    # the first averages are of few steps, and fall and rise with the batches
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
    constant = stage.config.optimizer.schedule.model_copy(update={"name": "constant", "warmup_steps": 0})
    changed = {"learning_rate": FIRST_RATE, "schedule": constant}
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
    """Raises the learning rate with every step and notes the loss of each."""

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
        # Keras logs the mean over the epoch so far: the step's own loss is the difference of the sums
        total = float(logs["loss"]) * (batch + 1)
        loss, self._sum = total - self._sum, total
        if not np.isfinite(loss):
            self.rates.pop()
            self.model.stop_training = True
            return
        self.losses.append(loss)
        smoothed = smooth(self.losses)
        if len(smoothed) > 10 and smoothed[-1] > 4 * smoothed.min():
            self.model.stop_training = True

"""The callbacks of a stage: step counter, progress, log, early stopping, loss guard."""

import math
import shutil
import sys
import time
from collections.abc import Mapping

import keras
import numpy as np

from tlkeras import messages
from tlkeras.config.objective import lower_is_better
from tlkeras.errors import RunError


class StepCounter(keras.callbacks.Callback):
    """Counts the steps and epochs of the stage for the other callbacks.

    Args:
        steps: `Steps` of the stage.
        first_step: Number of steps that an earlier process has done.
        seconds_before: Seconds that these steps took.
        epoch_open: Whether the epoch of the last of these steps still has to be validated and logged.
        steps_before: Number of optimizer steps of the earlier stages.
    """

    def __init__(
        self,
        steps,
        first_step: int = 0,
        seconds_before: float = 0.0,
        epoch_open: bool = False,
        steps_before: int = 0,
    ):
        super().__init__()
        self.steps_before = steps_before
        self._began = time.monotonic() - seconds_before
        self.steps = steps
        self.epoch_open = epoch_open
        self.step = self.first_step = first_step
        self.epoch = self.first_epoch = (first_step - epoch_open) // steps.per_epoch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.step = min(self.epoch * self.steps.per_epoch + batch + 1, self.steps.total)

    @property
    def step_of_run(self) -> int:
        """Number of steps done, over all stages of the run."""
        return self.steps_before + self.step

    @property
    def seconds(self) -> float:
        """Seconds of training in this stage, over all processes that worked on it."""
        return time.monotonic() - self._began

    @property
    def epoch_ends(self) -> bool:
        """Whether the last step was the last one of an epoch."""
        return self.step % self.steps.per_epoch == 0 or self.step == self.steps.total

    @property
    def is_replay(self) -> bool:
        """Whether an earlier process has already done the last batch."""
        return self.step <= self.first_step


class Progress(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, below a line with the name of the stage and the estimated remaining time.

    Args:
        title: Number and name of the stage, e.g. `"[1/2] head"`.
        epochs: Number of epochs of the stage.
    """

    def __init__(self, title: str, epochs: int):
        super().__init__()
        self.title = title
        self.stage_epochs = epochs

    def set_params(self, params):
        # without a terminal there is one line per epoch, because a bar that redraws itself fills log files
        bar = 1 if sys.stdout.isatty() else 2
        super().set_params(params | {"verbose": bar if messages.notes_appear() else 0})

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.epochs = 1  # prevents Keras from printing its own "Epoch 1/5"
        self._pace = EpochPace()

    def on_epoch_begin(self, epoch, logs=None):
        self._pace.begin(time.monotonic())
        left = ""
        if seconds := self._pace.seconds_per_epoch:
            left = f", about {_duration(seconds * (self.stage_epochs - epoch))} left in this stage"
        messages.note(f"{self.title}: epoch {epoch + 1}/{self.stage_epochs}{left}")
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        # a bar that is wider than the terminal cannot redraw itself
        room = shutil.get_terminal_size().columns - _COUNTS if sys.stdout.isatty() else _ROOM
        super().on_train_batch_end(batch, told(logs, room))
        self._pace.batch(batch, time.monotonic())

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, told(logs))
        self._pace.end(time.monotonic())


# These metrics are shown first, as far as there is room. metrics.csv and TensorBoard contain all metrics.
_TOLD_FIRST = ("accuracy", "loss", "val_accuracy", "val_selection", "val_loss", "domain_accuracy")
_ROOM = 100  # characters for the metrics
_COUNTS = 45  # characters of Keras' bar, its step count and its seconds


def told(logs: Mapping | None, room: int = _ROOM) -> dict:
    """Returns the metrics of an epoch that fit into `room` characters, the most important first."""
    logs = dict(logs or {})
    names = dict.fromkeys([*(name for name in _TOLD_FIRST if name in logs), *logs])
    kept = set()
    for name in names:
        room -= len(f" - {name}: 0.0000")
        if room < 0:
            break
        kept.add(name)
    return {name: value for name, value in logs.items() if name in kept}


class EpochPace:
    """An estimate of the seconds per epoch, without the compilation in the first epoch.

    Until a second epoch has ended, the estimate uses the batches of the first epoch after its first batch.
    """

    def __init__(self):
        self._began = 0.0
        self._calls: list[tuple[int, float]] = []  # batches and time after each call of the first epoch
        self._epochs: list[float] = []

    def begin(self, now: float) -> None:
        """Records that an epoch begins."""
        self._began = now

    def batch(self, number: int, now: float) -> None:
        """Records that the batches up to `number` (from 0) of the epoch are done."""
        if not self._epochs:
            self._calls = [*self._calls[:1], (number + 1, now)]

    def end(self, now: float) -> None:
        """Records that the epoch has ended, with its validation."""
        seconds = now - self._began
        if not self._epochs and len(self._calls) > 1:
            (first, early), (last, late) = self._calls
            seconds = (late - early) * last / (last - first)
        self._epochs.append(seconds)

    @property
    def seconds_per_epoch(self) -> float:
        """Estimated seconds per epoch. It is 0 before the end of the first epoch."""
        return float(np.median(self._epochs[1:][-5:] or self._epochs or [0.0]))


class MetricsLog(keras.callbacks.Callback):
    """Writes the metrics of each epoch to the metrics.csv of the stage.

    The steps in it count over all stages of the run.

    Args:
        run_dir: Run directory.
        path: Path of metrics.csv.
        counter: `StepCounter` of the stage.
    """

    def __init__(self, run_dir, path, counter: StepCounter):
        super().__init__()
        self.run_dir = run_dir
        self.path = path
        self.counter = counter
        self.rows: list[dict] = []

    def on_train_begin(self, logs=None):
        self.rows = self.run_dir.read_rows(self.path)[: self.counter.epoch]

    def on_epoch_end(self, epoch, logs=None):
        values = {name: float(value) for name, value in (logs or {}).items()}
        values["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        row = {"epoch": epoch + 1, "step": self.counter.step_of_run}
        self.rows.append(row | {name: repr(value) for name, value in values.items()})
        self.run_dir.write_rows(self.path, self.rows)


class TrackerLog(keras.callbacks.Callback):
    """Reports each epoch to the trackers of the run, after it is in metrics.csv.

    Args:
        tracking: `Tracking` of the run.
    """

    def __init__(self, tracking):
        super().__init__()
        self.tracking = tracking

    def on_epoch_end(self, epoch, logs=None):
        self.tracking.report()


class EarlyStopping(keras.callbacks.EarlyStopping):
    """Keras' early stopping with a state that survives a restart.

    Args:
        config: `EarlyStoppingConfig` of the stage.
        state: State that `state()` returned in an earlier process, or None.
    """

    _MEMORY = ("wait", "best", "best_epoch", "stopped_epoch")

    def __init__(self, config, state: dict | None = None):
        mode = "min" if lower_is_better(config.monitor) else "max"
        super().__init__(
            monitor=config.monitor, patience=config.patience, min_delta=config.min_delta, mode=mode
        )
        self._restored = state or {}
        self.__dict__.update(self._restored)  # for a stage without remaining steps

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.__dict__.update(self._restored)

    def on_epoch_end(self, epoch, logs=None):
        # Keras warns if the monitor is missing, but epochs without validation are normal and do not count
        if self.monitor in (logs or {}):
            super().on_epoch_end(epoch, logs)

    def state(self) -> dict:
        """Returns the state that the next process needs to continue."""
        return {name: _plain(getattr(self, name, None)) for name in self._MEMORY}


class LossGuard(keras.callbacks.Callback):
    """Stops the run at the first loss or weight that is not finite, before it is saved.

    Args:
        counter: `StepCounter` of the stage.
        stage_name: Name of the stage in errors.
        rows_of_step: Function from a step, counted from 0, to the names of its rows.
    """

    def __init__(self, counter: StepCounter, stage_name: str, rows_of_step):
        super().__init__()
        self.counter = counter
        self.stage_name = stage_name
        self.rows_of_step = rows_of_step
        self._last_good = counter.first_step

    def on_train_batch_end(self, batch, logs=None):
        if self.counter.is_replay:
            return
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"The loss became {loss}")
        self._last_good = self.counter.step

    def on_test_end(self, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            self._stop(f"The loss on the validation rows became {loss}")

    def check_weights(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Raises `RunError` if one of the named arrays contains a value that is not finite."""
        for name, array in arrays.items():
            if array.dtype.kind not in "iub" and not np.isfinite(array).all():
                self._stop(f"{name} is no longer finite")

    def _stop(self, what: str):
        step = self.counter.step
        rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
        names = [str(n) for s in range(min(self._last_good, step - 1), step) for n in self.rows_of_step(s)]
        shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
        raise RunError(
            f"{what} in stage {self.stage_name!r} at step {step} (learning rate {rate:.3g}). "
            f"Rows of that step: {shown}. The last good checkpoint is kept; a lower learning rate, "
            "a global_clipnorm or float32 precision usually helps."
        )


def _plain(value):
    return value if value is None or isinstance(value, int) else float(value)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

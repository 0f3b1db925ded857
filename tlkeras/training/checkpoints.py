"""The states of a run on disk: the start of each stage, its checkpoints, and the best model."""

import signal
import threading
import time
from collections.abc import Sequence

import keras
import numpy as np

from tlkeras.backend import Decisions
from tlkeras.backend.averaging import averaged_weights
from tlkeras.config import CheckpointConfig
from tlkeras.config.objective import lower_is_better
from tlkeras.errors import Interrupted, RunError
from tlkeras.run_dir import CheckpointStore, RunDir
from tlkeras.training import snapshots
from tlkeras.training.callbacks import EarlyStopping, LossGuard, StepCounter
from tlkeras.training.losses import UNSMOOTHED
from tlkeras.training.own_callbacks import OwnCallbacks


class RunStates:
    """The states of one run on disk, and their restoration.

    The `start` of a stage contains all variables of the model. Checkpoints and the best model contain only
    the variables that the stage may change. A frozen backbone is therefore written only once per stage.

    Args:
        run_dir: Run directory.
        model: Transfer model.
        stage_names: Names of all stages in order.
        keep: Number of checkpoints of a stage that are kept.
    """

    def __init__(self, run_dir: RunDir, model, stage_names: list[str], keep: int):
        self.run_dir = run_dir
        self.model = model
        self.stage_names = stage_names
        self.keep = keep

    @property
    def best(self) -> CheckpointStore:
        """Returns the store of the best model of the run."""
        return CheckpointStore(self.run_dir.path / "stages" / "best", keep=1)

    def start(self, index: int) -> CheckpointStore:
        """Returns the store of the state in which a stage begins."""
        return CheckpointStore(self.run_dir.stage(index, self.stage_names[index]) / "start", keep=1)

    def checkpoints(self, index: int) -> CheckpointStore:
        """Returns the store of the checkpoints of a stage."""
        return self.run_dir.checkpoints(index, self.stage_names[index], self.keep)

    def enter(self, index: int):
        """Saves the state in which a stage begins, or restores it. Returns the stage's last checkpoint."""
        start = self.start(index).load()
        if start is None:
            self.start(index).save_arrays(snapshots.capture(self._named(), replicas=True), step=0)
            return None
        snapshots.restore(self._named(), start[0])
        return self.checkpoints(index).load()

    def load_start(self, index: int, *, replicas: bool = True) -> None:
        """Restores the state in which a stage began; see `snapshots.restore` for `replicas`."""
        snapshots.restore(self._named(), self._whole(self.start(index), index)[0], replicas=replicas)

    def load_end(self, index: int) -> dict:
        """Restores the state in which a completed stage ended. Returns the best model of the run so far."""
        end = self._whole(self.checkpoints(index), index)
        self.load_start(index)
        named = self._named()
        moved = {k: v for k, v in end[0].items() if snapshots.base_name(k.removeprefix("model/")) in named}
        snapshots.restore(named, moved, "model/")
        return end[1]["best"]

    def load_best(self, best: dict) -> None:
        """Restores the best weights of the run, those of `best.keras`, on all replicas."""
        arrays = self._whole(self.best, best["stage"])[0]
        self.load_start(best["stage"], replicas=False)
        snapshots.restore(self._named(), arrays)

    def _named(self) -> dict:
        return snapshots.named_variables(self.model)

    def _whole(self, store: CheckpointStore, index: int):
        found = store.load()
        if found is None:
            raise RunError(
                f"A state of stage {self.stage_names[index]!r} is missing or damaged in "
                f"{store.directory}. Start over with --fresh."
            )
        return found


class BestModel(keras.callbacks.Callback):
    """Saves the weights of the best epoch over all stages of the run.

    Args:
        store: `CheckpointStore` of the best model.
        monitor: Name of the metric that decides. Epochs without it do not count.
        named: Variables that the stage may change, by name.
        stage_index: Index of the stage, whose start has the other variables of the best model.
        state: Value of `state` in the earlier stage or process, or None.
        source_floor: Share of the best source validation accuracy so far that an epoch must reach to
            count, or None for no condition.
    """

    def __init__(
        self,
        store: CheckpointStore,
        monitor: str,
        named: dict,
        stage_index: int,
        state: dict | None = None,
        source_floor: float | None = None,
    ):
        super().__init__()
        self.source_floor = source_floor
        self.store = store
        self.monitor = monitor
        self.named = named
        self.stage_index = stage_index
        self.state = state

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        if self.monitor not in logs:
            return
        # smoothed labels raise the loss of one stage, with which that of another is compared
        loss = float(logs.get(f"val_{UNSMOOTHED}", logs.get("val_loss", 0.0)))
        value = loss if self.monitor == "val_loss" else float(logs[self.monitor])
        sign = -1.0 if lower_is_better(self.monitor) else 1.0
        # equal accuracies are common on small validation splits; the loss then decides
        rank = [sign * value, -loss]
        source = float(logs.get("val_accuracy", 0.0))
        old = self.state or {"rank": [-np.inf], "source": -np.inf, "best_source": -np.inf}
        best_source = max(source, old["best_source"])
        floor = -np.inf if self.source_floor is None else self.source_floor * best_source
        beaten = rank > old["rank"] or old["source"] < floor
        if not (np.isfinite(value) and source >= floor and beaten):
            if self.state is not None:
                self.state["best_source"] = best_source
            return
        self.state = {
            "monitor": self.monitor, "value": value, "rank": rank, "source": source,
            "best_source": best_source, "stage": self.stage_index, "epoch": epoch + 1,
        }  # fmt: skip
        with averaged_weights(self.model and self.model.optimizer):  # a probe stage fits no Keras model
            arrays = snapshots.capture(self.named)
        self.store.save_arrays(arrays, self.state, step=self.stage_index)


def stage_state(
    *,
    step: int,
    best: dict | None,
    finished: bool,
    epoch_open: bool = False,
    early_stopping: dict | None = None,
    own_callbacks: Sequence = (),
    stopped: bool = False,
    training_seconds: float = 0.0,
) -> dict:
    """Returns the state that a checkpoint stores in addition to its arrays.

    Args:
        step: Number of finished steps of the stage.
        best: Best model of the run so far; see `BestModel.state`.
        finished: Whether the stage is finished, so that averaged weights have replaced the weights.
        epoch_open: Whether the last epoch still has to be validated and logged.
        early_stopping: State that `EarlyStopping.state` returned.
        own_callbacks: States that `OwnCallbacks.states` returned.
        stopped: Whether early stopping ended the stage.
        training_seconds: Seconds of the steps, over all processes.
    """
    return {
        "step": step, "epoch_open": epoch_open, "best": best, "early_stopping": early_stopping,
        "own_callbacks": list(own_callbacks), "stopped": stopped, "finished": finished,
        "training_seconds": training_seconds,
    }  # fmt: skip


# If a validation takes longer than this, a checkpoint is written before it, so that a signal need not wait.
PATIENCE_SECONDS = 2.0


class Checkpoint(keras.callbacks.Callback):
    """Saves all that a resumed stage needs, at the end of each epoch and, if configured, within epochs.

    SIGTERM and SIGINT save after the current step and stop the run. A second signal stops it at once.

    Args:
        store: `CheckpointStore` of the stage.
        config: Config of the times of checkpoints.
        named: Variables that the stage may change, by name.
        counter: `StepCounter` of the stage.
        best: `BestModel` of the run.
        guard: `LossGuard` of the stage, which checks the weights before they are written.
        early_stopping: `EarlyStopping` of the stage, or None.
        own: `OwnCallbacks` of the stage.
        resumed: Arrays of the checkpoint from which the stage resumes, or None.
        decisions: Object by which several workers save and stop at the same step, or None for one process.
    """

    def __init__(
        self,
        store: CheckpointStore,
        config: CheckpointConfig,
        named: dict,
        counter: StepCounter,
        best: BestModel,
        guard: LossGuard,
        early_stopping: EarlyStopping | None,
        own: OwnCallbacks,
        resumed: dict[str, np.ndarray] | None = None,
        decisions: Decisions | None = None,
    ):
        super().__init__()
        self.store = store
        self.config = config
        self.named = named
        self.counter = counter
        self.best = best
        self.guard = guard
        self.early_stopping = early_stopping
        self.own = own
        self._resumed = resumed
        self._decisions = decisions
        self._signal = 0
        self._handlers = {}
        self._saved_at = time.monotonic()
        self._saved_step = counter.first_step
        self._epoch_open = False  # whether the epoch still has to be validated and logged
        self._can_stop = False  # whether the newest checkpoint contains all finished steps
        self._end_took: float | None = None  # seconds from the last step of an epoch to its end

    def on_train_begin(self, logs=None):
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._handlers[number] = signal.signal(number, self._on_signal)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch_open, self._can_stop = True, False
        if self._resumed is not None:  # fit has just reset the metrics of the unfinished epoch
            snapshots.restore_list(self._metric_variables(), self._resumed, "metrics/")
            self._resumed = None

    def on_train_batch_end(self, batch, logs=None):
        self._last_step_at = time.monotonic()
        if self.counter.is_replay:
            self._can_stop = self.counter.epoch_ends
            return
        steps, minutes = self.config.every_steps, self.config.every_minutes
        late = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        if self.counter.epoch_ends:
            late |= self._end_took is None or self._end_took > PATIENCE_SECONDS
        late, stop = self._decided(late)
        due = late or (steps is not None and self.counter.step - self._saved_step >= steps)
        if due or stop:
            self.save()
        if stop:
            self._stop()
        self._can_stop = due and self.counter.epoch_ends

    def on_epoch_end(self, epoch, logs=None):
        self._end_took = time.monotonic() - self._last_step_at
        self._epoch_open = False
        self.save()
        if self._decided(False)[1]:
            self._stop()

    def _decided(self, late: bool) -> tuple[bool, bool]:
        """Returns whether to save and whether to stop. All workers decide alike, as they save together."""
        stop = bool(self._signal)
        if self._decisions is None:
            return late, stop
        late, stop = self._decisions.any_worker(late, stop, now=self.counter.epoch_ends)
        self._signal = self._signal or (signal.SIGTERM if stop else 0)
        return late, stop

    def on_train_end(self, logs=None):
        self.release()

    def release(self) -> None:
        """Restores the signal handlers from before the stage."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def save(self, finished: bool = False) -> None:
        """Writes one checkpoint.

        Args:
            finished: Whether fit has ended, so that averaged weights have replaced the weights.
        """
        arrays = snapshots.capture(self.named, "model/", replicas=True)
        arrays |= snapshots.capture_list(self.model.optimizer.variables, "optimizer/")
        self.guard.check_weights(arrays)
        if self._epoch_open:
            arrays |= snapshots.capture_list(self._metric_variables(), "metrics/", replicas=True)
        state = stage_state(
            step=self.counter.step,
            best=self.best.state,
            finished=finished,
            epoch_open=self._epoch_open,
            early_stopping=self.early_stopping and self.early_stopping.state(),
            own_callbacks=self.own.states(),
            stopped=bool(self.model.stop_training),
            training_seconds=self.counter.seconds,
        )
        self.store.save_arrays(arrays, state, step=self.counter.step)
        self._saved_at, self._saved_step = time.monotonic(), self.counter.step

    def _metric_variables(self) -> list:
        return [variable for metric in self.model.metrics for variable in metric.variables]

    def _on_signal(self, number, frame):
        asked_twice, self._signal = bool(self._signal), number
        if asked_twice:
            self.release()
            raise Interrupted(number, "Stopped at once. The same command continues from the last checkpoint.")
        if self._can_stop and self._decisions is None:
            self._stop()

    def _stop(self):
        self.release()
        raise Interrupted(
            self._signal,
            f"Stopped by {signal.Signals(self._signal).name} at step {self.counter.step}, state saved. "
            "The same command continues from here.",
        )

"""A stage that trains by gradient descent: new optimizer, compile, fit."""

from pathlib import Path

import keras

from tlkeras import messages
from tlkeras.backend import Decisions, compat
from tlkeras.backend.averaging import ValidateAverage, adopt_average
from tlkeras.config import FitStageConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.named_metrics import make_metrics
from tlkeras.features.stage_features import steps_per_execution
from tlkeras.prepare import Parts
from tlkeras.training import objectives, snapshots
from tlkeras.training.adaptation_watch import DomainWatch, check_domain_statistics
from tlkeras.training.audit import frozen_variables
from tlkeras.training.callbacks import EarlyStopping, LossGuard, MetricsLog, Progress, StepCounter, TrackerLog
from tlkeras.training.checkpoints import BestModel, Checkpoint
from tlkeras.training.class_shares import ClassSharesLog
from tlkeras.training.find_lr import curve_of, find_learning_rate
from tlkeras.training.input_watch import InputWatch
from tlkeras.training.monitors import monitor_of, stopping_of
from tlkeras.training.optimizers import build_optimizer
from tlkeras.training.own_callbacks import OwnCallbacks, watch_batches
from tlkeras.training.row_weights import row_weights
from tlkeras.training.schedules import warm_up_steps
from tlkeras.training.second_task import joint_batches, trains_jointly
from tlkeras.training.stage import Stage, StageRecord
from tlkeras.training.stages import Steps, count_steps, learning_rate_multipliers
from tlkeras.training.tensorboard_log import TensorBoardLog
from tlkeras.training.terms import training_model
from tlkeras.training.trunk_features import open_features


class FitStage(Stage):
    """Trains the selected variables with an optimizer and `keras.Model.fit`."""

    config: FitStageConfig

    @property
    def steps(self) -> Steps:
        """Length of the stage according to the config, in whole batches of the training rows."""
        return count_steps(self.config, len(self.parts.source.splits["train"]), self.parts.batch_size)

    def check(self) -> None:
        """Raises `UserError` if the stage does not fit the model or the data."""
        self.select()
        check_batch_norm(self.parts, self.config)
        check_domain_statistics(self.parts, self.config)
        automatic = self.config.optimizer.learning_rate == "auto"
        with self.runtime.scope():
            self.compile(self.config.at_rate(1.0) if automatic else self.config)

    def run(self, checkpoint: tuple[dict, dict] | None, best: dict | None) -> StageRecord:
        """Trains the remaining steps, on the outputs of the frozen trunk if that saves time."""
        arrays, state = checkpoint or (None, {})
        features = self.batches.features = self.open_features()
        self.batches.row_weights = row_weights(
            self.parts, self.config, self.batches.sources, self.run_dir, self.folder, self.title
        )
        self._settle_learning_rate()
        self._say_warm_up()
        with self.runtime.scope():
            trainee = self.compile()
        movable = self._movable(trainee)
        if arrays is not None:
            snapshots.restore(movable, arrays, "model/")
            snapshots.restore_list(trainee.optimizer.variables, arrays, "optimizer/")
            best = state["best"]
        best, seconds = self._fit(trainee, movable, arrays, state, best)
        steps = int(keras.ops.convert_to_numpy(trainee.optimizer.iterations))
        self.batches.features, self.batches.row_weights = None, {}
        self.model.set_input("inputs")
        extraction, extractor = (features.seconds, features.extractor) if features else (0.0, None)
        return StageRecord(best, steps, seconds, extraction, extractor)

    def find_learning_rate(self) -> tuple[float, Path]:
        """Returns the rate that a range test finds, and the path of its curve, after the earlier stages."""
        self.select()
        self.states.enter(self.index)
        self.batches.features = self.open_features()
        return find_learning_rate(self), curve_of(self)

    def open_features(self):
        """Returns the outputs of the frozen trunk if the stage trains on them; see `trunk_features`."""
        return open_features(
            self.parts, self.batches, self.config, self.steps, self.run_dir, self.folder, self.title
        )

    def compile(self, config: FitStageConfig | None = None, steps: Steps | None = None) -> keras.Model:
        """Returns the compiled model for fit, with a new optimizer for the selected variables.

        Args:
            config: Config of the stage with other settings, or None for its own config.
            steps: Another length, or None for that of the stage.
        """
        config, steps, source = config or self.config, steps or self.steps, self.parts.source
        multipliers = learning_rate_multipliers(config, self.model, self.selection)
        optimizer = build_optimizer(config.optimizer, steps=steps.total, multipliers=multipliers)
        trainee = training_model(self.parts, config, steps, self.states)
        own, wanted = self.parts.own, self.parts.config.measured
        further = make_metrics(wanted, source.task, source.num_outputs, own.metrics)
        trainee.compile(
            optimizer=optimizer,
            loss=objectives.loss_for(config, source, own.loss),
            weighted_metrics=objectives.metrics_for(config, source, own.loss, further),
            steps_per_execution=config.steps_per_execution or self._steps_per_execution(steps),
        )
        optimizer.build(trainee.trainable_variables)
        return trainee

    def training_data(self, config: FitStageConfig, steps: Steps, first_step: int, trainee):
        """Returns the training batches in the form that `trainee` takes.

        Args:
            config: Config of the stage.
            steps: Length of the stage.
            first_step: Number of the first step, from 0.
            trainee: Model that is trained.
        """
        if trains_jointly(self.parts.config):
            return joint_batches(self.parts, self.batches, config, steps, first_step)
        return self.batches.training(config, steps, first_step, trainee.target_views)

    def _steps_per_execution(self, steps: Steps) -> int:
        if self.batches.features is None or watch_batches(self.parts.own.callbacks):
            return 1
        return steps_per_execution(self.model, steps.per_epoch, self.parts.config.checkpoint.every_steps)

    def _settle_learning_rate(self) -> None:
        """Replaces the learning rate `auto` by the result of a range test."""
        if self.config.optimizer.learning_rate == "auto":
            rate = find_learning_rate(self)
            messages.note(f"{self.title}: learning rate {rate:.3g} chosen by a range test")
            self.config = self.config.at_rate(rate)

    def _say_warm_up(self) -> None:
        schedule, steps = self.config.optimizer.schedule, self.steps.total
        if (used := warm_up_steps(schedule, steps)) < schedule.warmup_steps:
            messages.note(
                f"{self.title}: the warm-up is {used} of {steps} steps, because the stage is too short for "
                f"warmup_steps={schedule.warmup_steps}"
            )

    def _movable(self, trainee) -> dict:
        """Returns the variables that the stage may change, by name."""
        frozen = {id(variable) for variable in frozen_variables(self.model, self.selection)}
        return {n: v for n, v in snapshots.named_variables(trainee).items() if id(v) not in frozen}

    def _fit(self, trainee, movable: dict, arrays, state: dict, best: dict | None):
        """Trains the remaining steps. Returns the best model of the run and the seconds of all processes."""
        before = state.get("training_seconds", 0.0)
        if state.get("finished"):
            return best, before
        counter = StepCounter(
            self.steps, state.get("step", 0), before, state.get("epoch_open", False), self.steps_before
        )
        best_model = self._best_model(movable, best)
        wanted = stopping_of(self.parts, self.config)
        stopping = wanted and EarlyStopping(wanted, state.get("early_stopping"))
        own = OwnCallbacks(self.parts.own.callbacks, counter, state.get("own_callbacks"))
        guard = LossGuard(counter, self.config.name, self.batches.names_of_step)
        checkpoint = Checkpoint(
            self.states.checkpoints(self.index), self.parts.config.checkpoint, movable, counter, best_model,
            guard, stopping, own, arrays, Decisions(self.runtime) if self.runtime.workers > 1 else None,
        )  # fmt: skip
        for callback in (guard, checkpoint):
            callback.set_model(trainee)
        unfinished = counter.step < self.steps.total or state.get("epoch_open")
        if unfinished and not state.get("stopped"):
            watchers = [*self._watchers(counter), own, guard, best_model, *([stopping] if stopping else [])]
            watchers += [checkpoint, *self._input_watch(trainee, counter)]
            self._fit_steps(trainee, counter, watchers, checkpoint)
        adopt_average(trainee.optimizer)
        checkpoint.save(finished=True)
        return best_model.state, counter.seconds

    def _fit_steps(self, trainee, counter: StepCounter, watchers: list, checkpoint: Checkpoint) -> None:
        trainee.make_train_function()
        trainee.train_function = StepWindow(trainee, counter, self.steps)
        # if only the last validation remains, fit still needs one batch, which is skipped
        first_step = min(counter.first_step, self.steps.total - 1)
        try:
            trainee.fit(
                self.training_data(self.config, self.steps, first_step, trainee),
                epochs=self.steps.epochs,
                initial_epoch=counter.first_epoch,
                steps_per_epoch=self.steps.per_epoch,
                validation_data=self.batches.validation(self.config),
                validation_freq=self.config.validate_every,
                callbacks=watchers,
                shuffle=False,  # the data set defines the order; Keras warns otherwise
                verbose=0,
            )
        finally:
            checkpoint.release()

    def _watchers(self, counter: StepCounter) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that observe the training, in the order of their calls."""
        metrics = self.run_dir.stage_metrics(self.index, self.config.name)
        shares = ClassSharesLog(self.run_dir, self.folder, self.parts, counter)
        return [
            counter,
            ValidateAverage(),
            *([DomainWatch(self.parts, self.batches.features)] if self.parts.targets else []),
            *([Progress(self.title, self.steps.epochs)] if self.runtime.is_chief else []),
            MetricsLog(self.run_dir, metrics, counter),
            TrackerLog(self.parts.tracking),
            shares,
            TensorBoardLog(self.run_dir.tensorboard, self.parts, self.config, self.index, counter, shares),
        ]

    def _input_watch(self, trainee, counter: StepCounter) -> list[keras.callbacks.Callback]:
        """Returns the callback that reports a slow input, or none if there are several workers."""
        if self.runtime.workers > 1:
            return []
        left = lambda: self.training_data(self.config, self.steps, counter.first_step, trainee)  # noqa: E731
        passed_over = counter.first_step - counter.first_epoch * self.steps.per_epoch
        return [InputWatch(self.title, left, self.steps.total, passed_over)]

    def _best_model(self, movable: dict, best: dict | None) -> BestModel:
        config = self.parts.config
        floor = config.adaptation.source_floor if config.adapts else None
        moved = {id(variable) for variable in movable.values()}
        own = {n: v for n, v in snapshots.named_variables(self.model).items() if id(v) in moved}
        return BestModel(self.states.best, monitor_of(self.parts), own, self.index, best, floor)


class StepWindow:
    """A train function that skips the steps outside of a window.

    Keras' fit counts whole epochs. If an earlier process did the first steps of an epoch, or if the stage
    ends within an epoch, the skipped steps use no data and change no weights.

    Args:
        model: Model whose train function exists.
        counter: `StepCounter` with the step from which the stage continues.
        steps: Length of the stage.
    """

    def __init__(self, model, counter: StepCounter, steps: Steps):
        self._model = model
        self._run = model.train_function
        self._first, self._total = counter.first_step, steps.total
        self._step = counter.first_epoch * steps.per_epoch

    def __call__(self, group):
        begin, end = self._step, self._step + group.steps
        self._step = end
        todo = min(end, self._total) - max(begin, self._first)
        group.steps = max(todo, 0)
        if group.steps == 0:
            return self._model.get_metrics_result()
        return self._run(group)


def check_batch_norm(parts: Parts, stage: FitStageConfig) -> None:
    """Raises `UserError` if each worker would have its own BatchNormalization statistics.

    Only those of the chief would be saved, so that a resumed run would differ.

    Args:
        parts: Parts of the run.
        stage: Stage that is selected in the model.
    """
    config = parts.config.runtime
    if parts.runtime.workers == 1 or config.sync_batch_norm or stage.bn != "train":
        return
    layers = compat.flat_layers(parts.model)
    moving = [x for x in layers if isinstance(x, keras.layers.BatchNormalization) and x.trainable]
    if moving:
        raise UserError(
            "Several workers must normalise by the same statistics: set runtime.sync_batch_norm=true, or "
            f"stages.{stage.name}.bn=frozen. Received: bn=train in {len(moving)} layers, "
            "runtime.sync_batch_norm=false"
        )

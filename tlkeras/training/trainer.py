"""The life of the stages: select variables, new optimizer, compile, fit, audit, record."""

from pathlib import Path

import keras

from tlkeras import messages
from tlkeras.backend import Decisions
from tlkeras.backend.averaging import ValidateAverage, adopt_average
from tlkeras.config import StageConfig
from tlkeras.features.stage_features import steps_per_call
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training import objectives, snapshots
from tlkeras.training.adaptation_watch import (
    DomainWatch,
    check_domain_statistics,
    put_in_target_statistics,
)
from tlkeras.training.audit import FreezeAudit
from tlkeras.training.callbacks import EarlyStopping, LossGuard, MetricsLog, Position, Progress
from tlkeras.training.class_shares import ClassSharesLog
from tlkeras.training.find_lr import curve_of, find_learning_rate
from tlkeras.training.input_watch import InputWatch
from tlkeras.training.optimizers import build_optimizer
from tlkeras.training.probe_stage import check_probe, train_probe_stage
from tlkeras.training.second_task import joint_batches, trains_jointly
from tlkeras.training.stage_batches import Feed
from tlkeras.training.stage_checkpoints import BestModel, Checkpoint
from tlkeras.training.stages import Steps, count_steps, expand_stages, learning_rate_multipliers, place_of
from tlkeras.training.states import RunStates
from tlkeras.training.step_window import StepWindow
from tlkeras.training.tensorboard_log import TensorBoardLog
from tlkeras.training.terms import training_model
from tlkeras.training.trunk_features import open_features
from tlkeras.training.worker_checks import check_batch_norm


class Trainer:
    """Runs the stages of an experiment on one model, each from where an earlier process left it.

    Args:
        parts: Config, runtime, data and model.
        run_dir: Where checkpoints, logs and the ledger are kept.
    """

    def __init__(self, parts: Parts, run_dir: RunDir):
        self.parts = parts
        self.config = config = parts.config
        self.runtime = parts.runtime
        self.model = parts.model
        self.run_dir = run_dir
        self.stages = expand_stages(config.stages, [block.name for block in parts.model.blocks])
        rows = len(parts.source.splits["train"])
        self.steps = [count_steps(stage, rows, parts.batch_size) for stage in self.stages]
        self.feed = Feed(parts)
        names = [stage.name for stage in self.stages]
        self.states = RunStates(run_dir, parts.model, names, config.checkpoint.keep)
        self.best: dict | None = None

    def check(self) -> None:
        """Raises `UserError` where a stage asks for what this model or data does not have."""
        for stage, steps in zip(self.stages, self.steps, strict=True):
            if stage.probe is not None:
                check_probe(self.parts, stage)
                continue
            selection = self.model.select(stage.train, stage.bn)
            check_batch_norm(self.parts, stage)
            check_domain_statistics(self.parts, stage)
            optimizer = stage.optimizer
            if optimizer.learning_rate == "auto":
                optimizer = optimizer.model_copy(update={"learning_rate": 1.0})
                stage = stage.model_copy(update={"optimizer": optimizer})
            with self.runtime.scope():
                self.compile(stage, steps, selection)

    def train(self) -> None:
        """Trains all stages that are not done yet and leaves the model with the best weights of the run."""
        self._train_up_to(len(self.stages))
        self.load_best()

    def find_learning_rate(self, index: int) -> tuple[float, Path]:
        """Trains the stages before one; returns what a range test finds for it, and where the curve lies."""
        self._train_up_to(index)
        stage = self.stages[index]
        selection = self.model.select(stage.train, stage.bn)
        self.states.enter(index)
        self.feed.features = self._open_features(index)
        return find_learning_rate(self, index, selection), curve_of(self, index)

    def _train_up_to(self, count: int) -> None:
        events = self.run_dir.ledger.records()
        done = {event["stage"] for event in events if event["event"] == "completed"}
        live = False  # whether the model holds the state in which the stage before this one ended
        for index, stage in enumerate(self.stages[:count]):
            if stage.name in done:
                continue
            if not live and index > 0:
                self.best = self.states.load_end(index - 1)
            if stage.probe is None:
                self._train_stage(index)
            else:
                train_probe_stage(self, index)
            live = True
        if not live and count > 0:
            self.best = self.states.load_end(count - 1)

    def load_best(self) -> None:
        """Puts the best weights of the run into the model; the last, where none was chosen."""
        if self.best is None:
            self.states.load_end(len(self.stages) - 1)
        else:
            self.states.load_best(self.best)
        if self.config.adapts and self.config.adaptation.batch_norm == "adabn":
            put_in_target_statistics(self.parts)

    def _train_stage(self, index: int) -> None:
        selection = self.model.select(self.stages[index].train, self.stages[index].bn)
        arrays, state = self.states.enter(index) or (None, {})
        features = self.feed.features = self._open_features(index)
        stage = self.stages[index] = self._with_learning_rate(index, selection)
        with self.runtime.scope():
            trainee = self.compile(stage, self.steps[index], selection)
        audit = FreezeAudit(self.model, selection, stage.name)
        movable = _movable(trainee, audit)
        if arrays is not None:
            snapshots.restore(movable, arrays, "model/")
            snapshots.restore_list(trainee.optimizer.variables, arrays, "optimizer/")
            self.best = state["best"]
        self.run_dir.ledger.append(stage=stage.name, event="resumed" if state else "started")
        seconds = self._fit(index, trainee, movable, state, arrays)
        audit.check(learning=stage.optimizer.learning_rate != 0)
        extraction, extractor = (features.seconds, features.extractor) if features else (0.0, None)
        self._record_end(index, trainee, audit, seconds, extraction, extractor)
        self.feed.features = None
        self.model.feed("inputs")
        self.run_dir.mark_stage_done(index, stage.name)

    def _open_features(self, index: int):
        """Returns the outputs of the stage's frozen trunk, where it trains on those; see `trunk_features`."""
        stage = self.stages[index]
        folder = self.run_dir.stage(index, stage.name)
        return open_features(
            self.parts, self.feed, stage, self.steps[index], self.run_dir, folder, self._title(index)
        )

    def compile(self, stage: StageConfig, steps: Steps, selection) -> keras.Model:
        """Returns the model that fit gets, with a new optimizer for what is selected."""
        multipliers = learning_rate_multipliers(stage, self.model, selection)
        where = f"{place_of(stage, self.config.stages)}.optimizer"
        optimizer = build_optimizer(stage.optimizer, steps=steps.total, multipliers=multipliers, where=where)
        trainee = training_model(self.parts, stage, steps, self.states)
        trainee.compile(
            optimizer=optimizer,
            loss=objectives.loss_for(stage, self.parts.source),
            weighted_metrics=objectives.metrics_for(stage, self.parts.source),
            steps_per_execution=stage.steps_per_call or self._steps_per_call(steps),
        )
        optimizer.build(trainee.trainable_variables)
        return trainee

    def _steps_per_call(self, steps: Steps) -> int:
        if self.feed.features is None:
            return 1
        return steps_per_call(self.model, steps.per_epoch, self.config.checkpoint.every_steps)

    def _with_learning_rate(self, index: int, selection) -> StageConfig:
        """Returns the stage with an automatic learning rate found."""
        stage = self.stages[index]
        if stage.optimizer.learning_rate != "auto":
            return stage
        rate = find_learning_rate(self, index, selection)
        messages.note(f"{self._title(index)}: learning rate {rate:.3g} chosen by a range test")
        optimizer = stage.optimizer.model_copy(update={"learning_rate": rate})
        return stage.model_copy(update={"optimizer": optimizer})

    def _title(self, index: int) -> str:
        return f"[{index + 1}/{len(self.stages)}] {self.stages[index].name}"

    def _fit(self, index: int, trainee, movable: dict, state: dict, arrays) -> float:
        """Fits what is left of a stage; returns the seconds that all of it took, in every process."""
        before = state.get("training_seconds", 0.0)
        if state.get("finished"):
            return before
        stage, steps = self.stages[index], self.steps[index]
        position = Position(steps, state.get("step", 0), before, state.get("epoch_open", False))
        best = self._best_model(index, movable, position)
        stopping = stage.early_stopping and EarlyStopping(stage.early_stopping, state.get("early_stopping"))
        guard = LossGuard(position, stage.name, self.feed.names_of_step)
        checkpoint = Checkpoint(
            self.states.checkpoints(index), self.config.checkpoint, movable, position, best, guard, stopping,
            arrays, Decisions(self.runtime) if self.runtime.workers > 1 else None,
        )  # fmt: skip
        for keeper in (guard, checkpoint):
            keeper.set_model(trainee)
        unfinished = position.step < steps.total or state.get("epoch_open")
        if unfinished and not state.get("stopped"):
            watchers = [*self._watchers(index, position), guard, best, *([stopping] if stopping else [])]
            watchers.append(checkpoint)
            if self.runtime.workers == 1:
                steps_left = lambda: self.training_data(stage, steps, position.first_step, trainee)  # noqa: E731
                passed_over = position.first_step - position.first_epoch * steps.per_epoch
                watchers.append(InputWatch(self._title(index), steps_left, steps.total, passed_over))
            self._fit_steps(index, trainee, position, watchers, checkpoint)
        self.best = best.state
        adopt_average(trainee.optimizer)
        checkpoint.save(finished=True)
        return position.seconds

    def _fit_steps(self, index: int, trainee, position: Position, watchers: list, checkpoint) -> None:
        stage, steps = self.stages[index], self.steps[index]
        trainee.make_train_function()
        trainee.train_function = StepWindow(trainee, position, steps)
        # where only the last validation is left, fit still wants a batch to pass over
        first_step = min(position.first_step, steps.total - 1)
        try:
            trainee.fit(
                self.training_data(stage, steps, first_step, trainee),
                epochs=steps.epochs,
                initial_epoch=position.first_epoch,
                steps_per_epoch=steps.per_epoch,
                validation_data=self.feed.validation(stage),
                validation_freq=stage.validate_every,
                callbacks=watchers,
                shuffle=False,  # the data comes in its order; Keras warns otherwise
                verbose=0,
            )
        finally:
            checkpoint.release()

    def training_data(self, stage: StageConfig, steps: Steps, first_step: int, trainee):
        """Returns the batches of a stage from `first_step` on, as `trainee` takes them."""
        if trains_jointly(self.config):
            return joint_batches(self.parts, self.feed, stage, steps, first_step)
        return self.feed.training(stage, steps, first_step, trainee.target_views)

    def _watchers(self, index: int, position: Position) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that look on, in the order in which they do."""
        stage = self.stages[index]
        steps_before = sum(steps.total for steps in self.steps[:index])
        metrics, folder = self.run_dir.stage_metrics(index, stage.name), self.run_dir.stage(index, stage.name)
        shares = ClassSharesLog(self.run_dir, folder, self.parts, position, steps_before)
        return [
            position,
            ValidateAverage(),
            *([DomainWatch(self.parts, self.feed.features)] if self.parts.targets else []),
            *([Progress(self._title(index), self.steps[index].epochs)] if self.runtime.is_chief else []),
            MetricsLog(self.run_dir, metrics, position, steps_before),
            shares,
            TensorBoardLog(
                self.run_dir.tensorboard, self.parts, stage, index, position, steps_before, shares
            ),
        ]

    def _best_model(self, index: int, movable: dict, position: Position) -> BestModel:
        monitor = "val_loss" if self.parts.source.task == "regression" else "val_accuracy"
        floor = None
        if self.config.adapts:
            monitor, floor = "val_selection", self.config.adaptation.source_floor
        monitor = self.config.checkpoint.monitor or monitor
        moved = {id(variable) for variable in movable.values()}
        own = {n: v for n, v in snapshots.named_variables(self.model).items() if id(v) in moved}
        return BestModel(self.states.best, monitor, own, position, index, self.best, floor)

    def _record_end(
        self,
        index: int,
        trainee,
        audit: FreezeAudit,
        seconds: float,
        extraction: float,
        extractor: str | None,
    ) -> None:
        trainable = sum(int(v.value.shape.num_elements()) for v in audit.trainable)
        self.run_dir.ledger.append(
            stage=self.stages[index].name,
            event="completed",
            epochs=self.steps[index].epochs,
            steps=int(keras.ops.convert_to_numpy(trainee.optimizer.iterations)),
            extractor=extractor,
            extraction_seconds=round(extraction, 3),
            training_seconds=round(seconds, 3),
            trainable_parameters=trainable,
            frozen_parameters=self.model.count_params() - trainable,
            best_metric=self.best,
        )


def _movable(model, audit: FreezeAudit) -> dict:
    """Returns the variables of a model that the stage may move, by name."""
    frozen = {id(variable) for variable in audit.frozen}
    return {n: v for n, v in snapshots.named_variables(model).items() if id(v) not in frozen}

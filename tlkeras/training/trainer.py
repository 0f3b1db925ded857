"""The life of the stages: select variables, new optimizer, compile, fit, audit, record."""

import time

import keras

from tlkeras.config import StageConfig
from tlkeras.data import evaluation_batches, training_batches
from tlkeras.data.pipeline import rows_of_step
from tlkeras.errors import RunError
from tlkeras.prepare import Parts
from tlkeras.run_dir import CheckpointStore, RunDir
from tlkeras.training import objectives, snapshots
from tlkeras.training.audit import FreezeAudit
from tlkeras.training.averaging import ValidateAverage, adopt_average
from tlkeras.training.callbacks import EarlyStopping, LossGuard, MetricsLog, Position, Progress
from tlkeras.training.find_lr import find_learning_rate
from tlkeras.training.keeping import BestModel, Checkpoint
from tlkeras.training.optimizers import build_optimizer
from tlkeras.training.stages import Steps, count_steps, expand_stages, learning_rate_multipliers


class Trainer:
    """Runs the stages of an experiment on one model, each from where an earlier process left it.

    Args:
        parts: Config, runtime, data and model.
        run_dir: Where checkpoints, logs and the ledger are kept.
    """

    def __init__(self, parts: Parts, run_dir: RunDir):
        self.config = config = parts.config
        self.runtime = parts.runtime
        self.model = model = parts.model
        self.source = source = parts.source
        self.batch_size = batch_size = parts.batch_size
        self.run_dir = run_dir
        self.stages = expand_stages(config.stages, [block.name for block in model.blocks])
        self.steps = [count_steps(stage, len(source.splits["train"]), batch_size) for stage in self.stages]
        self.best: dict | None = None

    def check(self) -> None:
        """Raises `UserError` where a stage asks for what this model or data does not have."""
        for stage, steps in zip(self.stages, self.steps, strict=True):
            selection = self.model.select(stage.train, stage.bn)
            learning_rate_multipliers(stage, self.model, selection)
            objectives.loss_for(stage, self.source)
            optimizer = stage.optimizer
            if optimizer.learning_rate == "auto":
                optimizer = optimizer.model_copy(update={"learning_rate": 1.0})
            with self.runtime.scope():
                build_optimizer(optimizer, steps=steps.total)

    def train(self) -> None:
        """Trains all stages that are not done yet and leaves the model with the best weights of the run."""
        events = self.run_dir.ledger.records()
        done = {event["stage"] for event in events if event["event"] == "completed"}
        live = False  # whether the model holds the state in which the stage before this one ended
        for index, stage in enumerate(self.stages):
            if stage.name in done:
                continue
            if not live and index > 0:
                self._load_end_of(index - 1)
            self._train_stage(index)
            live = True
        if not live:
            self._load_end_of(len(self.stages) - 1)
        self._load_best()

    def _train_stage(self, index: int) -> None:
        stage, steps = self.stages[index], self.steps[index]
        selection = self.model.select(stage.train, stage.bn)
        resumed = self._enter(index)
        stage = self.stages[index] = self._with_learning_rate(index, selection)
        with self.runtime.scope():
            trainee = self.compile(stage, steps, selection)
        audit = FreezeAudit(self.model, selection, stage.name)
        movable = self._movable(audit)
        state = {}
        if resumed is not None:
            arrays, state = resumed
            snapshots.restore(movable, arrays, "model/")
            snapshots.restore_list(trainee.optimizer.variables, arrays, "optimizer/")
            self.best = state["best"]
        self.run_dir.ledger.append(stage=stage.name, event="resumed" if state else "started")
        seconds = self._fit(index, trainee, movable, state, resumed and resumed[0])
        audit.check(learning=stage.optimizer.learning_rate != 0)
        self._record_end(index, trainee, audit, seconds + state.get("training_seconds", 0.0))
        self.run_dir.mark_stage_done(index, stage.name)

    def _enter(self, index: int):
        """Keeps the state in which the stage begins, or goes back to it; returns the last checkpoint."""
        named = snapshots.named_variables(self.model)
        start = self._start(index).load()
        if start is None:
            self._start(index).save_arrays(snapshots.capture(named), step=0)
            return None
        snapshots.restore(named, start[0])
        return self._checkpoints(index).load()

    def _start(self, index: int) -> CheckpointStore:
        """Where the state in which a stage begins is kept."""
        return CheckpointStore(self.run_dir.stage(index, self.stages[index].name) / "start", keep=1)

    def _checkpoints(self, index: int) -> CheckpointStore:
        return self.run_dir.checkpoints(index, self.stages[index].name, self.config.checkpoint.keep)

    @property
    def _best_store(self) -> CheckpointStore:
        return CheckpointStore(self.run_dir.path / "stages" / "best", keep=1)

    def compile(self, stage: StageConfig, steps: Steps, selection) -> keras.Model:
        """Returns the model that fit gets, with a new optimizer for what is selected."""
        multipliers = learning_rate_multipliers(stage, self.model, selection)
        optimizer = build_optimizer(stage.optimizer, steps=steps.total, multipliers=multipliers)
        self.model.compile(
            optimizer=optimizer,
            loss=objectives.loss_for(stage, self.source),
            weighted_metrics=objectives.metrics_for(stage, self.source),
            steps_per_execution=stage.steps_per_call or 1,
        )
        optimizer.build(self.model.trainable_variables)
        return self.model

    def _with_learning_rate(self, index: int, selection) -> StageConfig:
        """Returns the stage with an automatic learning rate found."""
        stage = self.stages[index]
        if stage.optimizer.learning_rate != "auto":
            return stage
        rate = find_learning_rate(self, index, selection)
        print(f"{self._title(index)}: learning rate {rate:.3g} chosen by a range test")
        optimizer = stage.optimizer.model_copy(update={"learning_rate": rate})
        return stage.model_copy(update={"optimizer": optimizer})

    def _title(self, index: int) -> str:
        return f"[{index + 1}/{len(self.stages)}] {self.stages[index].name}"

    def _movable(self, audit: FreezeAudit) -> dict:
        frozen = {id(variable) for variable in audit.frozen}
        named = snapshots.named_variables(self.model)
        return {name: variable for name, variable in named.items() if id(variable) not in frozen}

    def _fit(self, index: int, trainee, movable: dict, state: dict, arrays) -> float:
        """Fits what is left of a stage; returns the seconds it took."""
        stage, steps = self.stages[index], self.steps[index]
        if state.get("finished"):
            return 0.0
        first_step = state.get("step", 0)
        position = Position(steps, first_step)
        best = BestModel(self._best_store, self.monitor, movable, position, index, self.best)
        stopping = stage.early_stopping and EarlyStopping(stage.early_stopping, state.get("early_stopping"))
        checkpoint = Checkpoint(
            self._checkpoints(index), self.config.checkpoint, movable, position, best, stopping, arrays
        )
        watchers = [
            position,
            ValidateAverage(),
            Progress(self._title(index), steps.epochs),
            MetricsLog(
                self.run_dir,
                self.run_dir.stage_metrics(index, stage.name),
                position,
                self._steps_before(index),
                stage.name,
            ),
            LossGuard(position, stage.name, self._names_of_step),
            best,
            *([stopping] if stopping else []),
            checkpoint,
        ]
        began = time.monotonic()
        if first_step >= steps.total or state.get("stopped"):
            checkpoint.set_model(trainee)
            self._finish(trainee, checkpoint)
            return 0.0
        trainee.make_train_function()
        trainee.train_function = StepWindow(trainee, first_step, steps)
        try:
            trainee.fit(
                self.training_data(stage, steps, first_step),
                epochs=steps.epochs,
                initial_epoch=first_step // steps.per_epoch,
                steps_per_epoch=steps.per_epoch,
                validation_data=self._validation_data(stage),
                validation_freq=stage.validate_every,
                callbacks=watchers,
                shuffle=False,  # the data comes in its order; Keras warns otherwise
                verbose=0,
            )
        finally:
            checkpoint.release()
        self.best = best.state
        self._finish(trainee, checkpoint)
        return time.monotonic() - began

    def _finish(self, trainee, checkpoint: Checkpoint) -> None:
        """Ends a stage: averaged weights, where there are any, become the weights."""
        adopt_average(trainee.optimizer)
        checkpoint.save(finished=True)

    @property
    def monitor(self) -> str:
        """The metric that decides on the best model of the run."""
        default = "val_loss" if self.source.task == "regression" else "val_accuracy"
        return self.config.checkpoint.monitor or default

    @property
    def _train_rows(self):
        return self.source.splits["train"]

    def _names_of_step(self, step: int):
        """Returns the names of the rows that a step of any stage trains on."""
        _, indices = rows_of_step(len(self._train_rows), self.config.seed, step, self.batch_size)
        return self._train_rows.ids[indices]

    def training_data(self, stage: StageConfig, steps: Steps, first_step: int):
        """Returns the batches of a stage from `first_step` on."""
        batches = training_batches(
            self._train_rows,
            self.source,
            batch_size=self.batch_size,
            seed=self.config.seed,
            augment=stage.augment,
            start_step=first_step,
            steps=steps.total,
        )
        return self.runtime.distribute(objectives.with_label_form(batches, stage, self.source))

    def _validation_data(self, stage: StageConfig):
        rows = self.source.splits.get("val")
        if rows is None or not len(rows):
            return None
        batches = evaluation_batches(rows, self.source, batch_size=self.batch_size, pad=True)
        return self.runtime.distribute(objectives.with_label_form(batches, stage, self.source))

    def _steps_before(self, index: int) -> int:
        return sum(steps.total for steps in self.steps[:index])

    def _record_end(self, index: int, trainee, audit: FreezeAudit, seconds: float) -> None:
        trainable = sum(int(v.value.shape.num_elements()) for v in audit.trainable)
        self.run_dir.ledger.append(
            stage=self.stages[index].name,
            event="completed",
            epochs=self.steps[index].epochs,
            steps=int(keras.ops.convert_to_numpy(trainee.optimizer.iterations)),
            extraction_seconds=0.0,
            training_seconds=round(seconds, 3),
            trainable_parameters=trainable,
            frozen_parameters=self.model.count_params() - trainable,
            best_metric=self.best,
        )

    def _load_end_of(self, index: int) -> None:
        """Puts the model into the state in which a completed stage ended."""
        start, end = self._start(index).load(), self._checkpoints(index).load()
        if start is None or end is None:
            raise RunError(
                f"The checkpoint of the completed stage {self.stages[index].name!r} is gone or broken in "
                f"{self.run_dir.path}. Start over with --fresh."
            )
        named = snapshots.named_variables(self.model)
        snapshots.restore(named, start[0])
        snapshots.restore(named, end[0], "model/")
        self.best = end[1]["best"]

    def _load_best(self) -> None:
        """Puts the best weights of the run into the model, or leaves the last where none was chosen."""
        if self.best is None:
            return
        index = self.best["stage"]
        start, best = self._start(index).load(), self._best_store.load()
        named = snapshots.named_variables(self.model)
        snapshots.restore(named, start[0])
        snapshots.restore(named, best[0])


class StepWindow:
    """A train function that runs only the steps of a stage that are still to be done.

    Keras' fit counts whole epochs. Where an earlier process did the first steps of an epoch, or the
    stage ends within one, the steps outside the window pass without touching data or weights.

    Args:
        model: A model whose train function is made.
        first_step: Steps done before.
        steps: Length of the stage.
    """

    def __init__(self, model, first_step: int, steps: Steps):
        self._model = model
        self._run = model.train_function
        self._first, self._total = first_step, steps.total
        self._step = first_step // steps.per_epoch * steps.per_epoch

    def __call__(self, group):
        begin, end = self._step, self._step + group.steps
        self._step = end
        todo = min(end, self._total) - max(begin, self._first)
        if todo <= 0:
            return self._model.get_metrics_result()
        group.steps = todo
        return self._run(group)

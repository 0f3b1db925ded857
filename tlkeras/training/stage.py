"""The base class of stages: checks, selection, audit, and the record of the results."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tlkeras.config import StageConfig
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.audit import FreezeAudit
from tlkeras.training.checkpoints import RunStates
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.stages import Steps


@dataclass(frozen=True)
class RunContext:
    """The objects that all stages of a run share.

    Attributes:
        parts: Config, runtime, data and model of the run.
        run_dir: Run directory for checkpoints, logs and the ledger.
        batches: Object that makes the batches.
        states: States of the run on disk.
    """

    parts: Parts
    run_dir: RunDir
    batches: StageBatches
    states: RunStates


@dataclass(frozen=True)
class StageRecord:
    """The results of a stage.

    Attributes:
        best: Best model of the run so far in the form of `BestModel.state`, or None if none was chosen.
        steps: Number of optimizer steps over all processes that worked on the stage.
        training_seconds: Seconds of training over all these processes.
        extraction_seconds: Seconds to compute or to read the outputs of the frozen trunk.
        extractor: Name of the extractor that computed them, or None if the stage trained on its inputs.
    """

    best: dict[str, Any] | None
    steps: int
    training_seconds: float
    extraction_seconds: float = 0.0
    extractor: str | None = None


class Stage(ABC):
    """One stage of a run. Subclasses define its length, its checks and its training.

    Args:
        context: Objects that all stages share.
        config: Config of the stage.
        index: Index of the stage, from 0.
        count: Number of stages of the run.
        steps_before: Number of optimizer steps of the earlier stages.
    """

    def __init__(
        self, context: RunContext, config: StageConfig, *, index: int, count: int, steps_before: int
    ):
        self.context = context
        self.config = config
        self.index = index
        self.steps_before = steps_before
        self.parts, self.run_dir = context.parts, context.run_dir
        self.batches, self.states = context.batches, context.states
        self.model, self.runtime = context.parts.model, context.parts.runtime
        self.folder = self.run_dir.stage(index, config.name)
        self.title = f"[{index + 1}/{count}] {config.name}"
        self.selection = None  # set when the stage begins

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """Length of the stage."""

    @abstractmethod
    def check(self) -> None:
        """Raises `UserError` if the stage does not fit the model or the data."""

    @abstractmethod
    def run(self, checkpoint: tuple[dict, dict] | None, best: dict | None) -> StageRecord:
        """Runs the rest of the stage, whose variables are selected in the model.

        Args:
            checkpoint: Arrays and state of the last checkpoint, or None at the beginning of the stage.
            best: Best model of the run so far, or None.
        """

    def select(self) -> None:
        """Selects the variables that train in this stage."""
        self.selection = self.model.select(self.config.train, self.config.bn)

    def train(self, best: dict | None) -> dict | None:
        """Runs the stage from its last checkpoint or its start. Returns the best model of the run so far."""
        self.select()
        checkpoint = self.states.enter(self.index)
        audit = FreezeAudit(self.model, self.selection, self.config.name)
        name, ledger = self.config.name, self.run_dir.ledger
        ledger.append(stage=name, event="started" if checkpoint is None else "resumed")
        record = self.run(checkpoint, best)
        audit.check()
        trained = sum(int(v.value.shape.num_elements()) for v in audit.trainable)
        ledger.append(
            stage=name,
            event="completed",
            epochs=self.steps.epochs,
            steps=record.steps,
            extractor=record.extractor,
            extraction_seconds=round(record.extraction_seconds, 3),
            training_seconds=round(record.training_seconds, 3),
            trainable_parameters=trained,
            frozen_parameters=self.model.count_params() - trained,
            best_metric=record.best,
        )
        self.run_dir.mark_stage_done(self.index, name)
        return record.best

"""What every kind of stage shares: where it stands in the run, its audit, and the record of what happened."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tlkeras.config import StageConfig
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.audit import FreezeAudit
from tlkeras.training.checkpoints import RunStates
from tlkeras.training.stage_batches import Feed
from tlkeras.training.stages import Steps


@dataclass(frozen=True)
class RunContext:
    """What the stages of a run have in common.

    Attributes:
        parts: Config, runtime, data and model.
        run_dir: Where checkpoints, logs and the ledger are kept.
        feed: Makes the batches.
        states: The states of the run on disk.
    """

    parts: Parts
    run_dir: RunDir
    feed: Feed
    states: RunStates


@dataclass(frozen=True)
class StageRecord:
    """What happened in a stage.

    Attributes:
        best: The best model of the run so far, as `BestModel.state` describes it; None where none was chosen.
        steps: Optimizer steps, over all processes that worked on the stage.
        training_seconds: Seconds of training, over all of these processes.
        extraction_seconds: Seconds that the outputs of the frozen trunk took to compute or to read.
        extractor: What computed them; None where the stage trained on its inputs.
    """

    best: dict[str, Any] | None
    steps: int
    training_seconds: float
    extraction_seconds: float = 0.0
    extractor: str | None = None


class Stage(ABC):
    """One stage of a run; a kind of stage says how it is checked, how long it is, and how it runs.

    Args:
        context: What it shares with the other stages.
        config: What the experiment says of it.
        index: Its place among the stages, from 0.
        count: How many stages the run has.
        steps_before: Optimizer steps of the stages before it.
    """

    def __init__(
        self, context: RunContext, config: StageConfig, *, index: int, count: int, steps_before: int
    ):
        self.context = context
        self.config = config
        self.index = index
        self.steps_before = steps_before
        self.parts, self.run_dir = context.parts, context.run_dir
        self.feed, self.states = context.feed, context.states
        self.model, self.runtime = context.parts.model, context.parts.runtime
        self.folder = self.run_dir.stage(index, config.name)
        self.title = f"[{index + 1}/{count}] {config.name}"
        self.selection = None  # what trains; known once the stage has begun

    @property
    @abstractmethod
    def steps(self) -> Steps:
        """How long the stage is."""

    @abstractmethod
    def check(self) -> None:
        """Raises `UserError` where the stage asks for what this model or data does not have."""

    @abstractmethod
    def run(self, checkpoint: tuple[dict, dict] | None, best: dict | None) -> StageRecord:
        """Runs what is left of the stage, whose variables are selected in the model.

        Args:
            checkpoint: Arrays and state of its last checkpoint; None where it begins.
            best: The best model of the run so far.
        """

    def select(self) -> None:
        """Sets in the model which variables train in this stage."""
        self.selection = self.model.select(self.config.train, self.config.bn)

    def train(self, best: dict | None) -> dict | None:
        """Runs the stage from where an earlier process left it; returns the best model of the run so far."""
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

"""The trainer: it runs the stages of an experiment and resumes from checkpoints."""

from pathlib import Path

from tlkeras.errors import UserError
from tlkeras.prepare import Parts
from tlkeras.run_dir import RunDir
from tlkeras.training.adaptation_watch import put_in_target_statistics
from tlkeras.training.checkpoints import RunStates
from tlkeras.training.fit_stage import FitStage
from tlkeras.training.probe_stage import ProbeStage
from tlkeras.training.stage import RunContext, Stage
from tlkeras.training.stage_batches import StageBatches
from tlkeras.training.stages import expand_stages

_KINDS: dict[str, type[Stage]] = {"fit": FitStage, "probe": ProbeStage}


class Trainer:
    """Runs the stages of an experiment on one model.

    Args:
        parts: Config, runtime, data and model of the run.
        run_dir: Run directory for checkpoints, logs and the ledger.
    """

    def __init__(self, parts: Parts, run_dir: RunDir):
        self.parts = parts
        self.config = parts.config
        self.model = parts.model
        self.run_dir = run_dir
        configs = expand_stages(parts.config.stages, [block.name for block in parts.model.blocks])
        names = [config.name for config in configs]
        self.states = RunStates(run_dir, parts.model, names, parts.config.checkpoint.keep)
        context = RunContext(parts, run_dir, StageBatches(parts), self.states)
        self.stages: list[Stage] = []
        for index, config in enumerate(configs):
            kind = _KINDS[config.kind]
            before = sum(stage.steps.total for stage in self.stages)
            self.stages.append(kind(context, config, index=index, count=len(configs), steps_before=before))
        self.best: dict | None = None

    def check(self) -> None:
        """Raises `UserError` if a stage does not fit the model or the data."""
        for stage in self.stages:
            stage.check()

    def train(self) -> None:
        """Trains all stages that are not done yet, and restores the best weights of the run."""
        self._train_up_to(len(self.stages))
        self.load_best()

    def fit_stage(self, index: int) -> FitStage:
        """Returns the stage with this index. Raises `UserError` if it does not exist or has no steps."""
        if not 0 <= index < len(self.stages):
            raise UserError(
                f"The config has {len(self.stages)} stages. Allowed: 0..{len(self.stages) - 1}. "
                f"Received: stage={index}"
            )
        stage = self.stages[index]
        if not isinstance(stage, FitStage):
            raise UserError(
                "A probe has no training steps, so there is nothing to profile and no learning rate to "
                f"find. Received: stage={index} ({stage.config.name})"
            )
        return stage

    def find_learning_rate(self, index: int) -> tuple[float, Path]:
        """Trains the earlier stages. Returns the rate that a range test finds, and the path of its curve."""
        self._train_up_to(index)
        return self.fit_stage(index).find_learning_rate()

    def _train_up_to(self, count: int) -> None:
        events = self.run_dir.ledger.records()
        done = {event["stage"] for event in events if event["event"] == "completed"}
        live = False  # whether the model has the state at the end of the previous stage
        for stage in self.stages[:count]:
            if stage.config.name in done:
                continue
            if not live and stage.index > 0:
                self.best = self.states.load_end(stage.index - 1)
            self.best = stage.train(self.best)
            live = True
        if not live and count > 0:
            self.best = self.states.load_end(count - 1)

    def load_best(self) -> None:
        """Restores the best weights of the run, or the last ones if none were chosen."""
        if self.best is None and self.stages:
            self.states.load_end(len(self.stages) - 1)
        elif self.best is not None:
            self.states.load_best(self.best)
        if self.config.adapts and self.config.adaptation.batch_norm == "adabn":
            put_in_target_statistics(self.parts)

"""The settings of a config that an automatic search may change."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.config import (
    AugmentConfig,
    ExperimentConfig,
    OptimizerConfig,
    RegularizerConfig,
    ScheduleConfig,
    StageConfig,
    load_config,
)
from tlkeras.data.modalities import MODALITIES
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES
from tlkeras.run_dir import RunDir
from tlkeras.studies.candidates import Candidate

EPOCHS = (6, 12)  # epochs of the head stage and of the fine-tuning stage

# Settings that usually work on small data, for the first trials (a search of ten minutes has few others):
# learning rates that fall with depth, fixed BatchNormalization statistics, and half of the blocks or all.
_USUAL = {"head_learning_rate": 2e-3, "regularizer": "none", "bn": "frozen", "layer_decay": 0.8}
RECIPES = (
    _USUAL | {"depth": "half", "learning_rate": 5e-4, "augment": "as configured"},
    _USUAL | {"depth": "all", "learning_rate": 1e-3, "augment": "crop"},
)


@dataclass(frozen=True)
class StartingPoint:
    """A backbone to start from.

    Attributes:
        backbone: Name of the backbone.
        weights: Weights, as in `ModelConfig`.
        options: Options of the backbone's builder.
    """

    backbone: str
    weights: str | None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The starting point as a user would write it, e.g. `resnet50:imagenet`."""
        return f"{self.backbone}:{self.weights or 'none'}"


def starting_point(candidate: Candidate, config: ExperimentConfig) -> StartingPoint:
    """Returns the starting point that a candidate of `tlkeras rank` is. A run has its backbone and weights.

    Raises:
        UserError: The candidate is a run with more networks than a backbone.
    """
    if not candidate.is_run:
        own = candidate.name == config.model.backbone
        return StartingPoint(candidate.name, candidate.weights, config.model.backbone_options if own else {})
    model = load_config(str(RunDir(candidate.name).config)).model
    for part in ("nested", "adapter"):
        if getattr(model, part) is not None:
            raise UserError(
                f"auto uses only the backbone of a run, and the network of {candidate.name} has other parts: "
                f"name other --candidates. Received: a run with model.{part}"
            )
    return StartingPoint(model.backbone, candidate.name, model.backbone_options)


def check_searchable(config: ExperimentConfig) -> None:
    """Raises `UserError` for a config whose trials cannot run, or cannot be compared by accuracy."""
    data, model = config.data, config.model
    reasons = [
        (config.tasks, "tasks", "its stages belong to a sharing strategy"),
        (config.adaptation, "adaptation", "the source's validation rows do not measure the target"),
        (data.folds is not None and data.fold is None, "data.folds", "each trial would be several runs"),
        (data.pretext, "data.pretext", "its accuracy is that of the pretext task"),
        (data.task not in ("multiclass", "binary"), f"data.task={data.task}", "auto compares classifiers"),
        (model.nested, "model.nested", "another backbone does not fit"),
        (model.adapter, "model.adapter", "another backbone does not fit"),
        (model.beside, "model.beside", "it tries backbones for rows of one part"),
        (model.head.name == "neighbors", "model.head.name=neighbors", "that head is not trained"),
    ]
    for there, name, reason in reasons:
        if there:
            raise UserError(f"auto cannot search over this config: {reason}. Received: {name}")


def first_trials(starts: list[StartingPoint]) -> Iterator[dict[str, Any]]:
    """Yields the settings of the first trials: each recipe on the two best starting points.

    Args:
        starts: Starting points of trials, best first.
    """
    for recipe in RECIPES:
        for start in starts[:2]:
            yield {"start": start.title, **recipe}


def suggest(trial, config: ExperimentConfig, starts: list[StartingPoint]) -> ExperimentConfig:
    """Returns the config of a trial: start, depth of fine-tuning, learning rates, regularizer, augmentation.

    Args:
        trial: Optuna trial.
        config: Config of the user. Its data, head, runtime and cache are not changed.
        starts: Starting points of trials, best first.
    """
    by_title = {start.title: start for start in starts}
    start = by_title[trial.suggest_categorical("start", list(by_title))]
    stages = [_head(trial)]
    depth = trial.suggest_categorical("depth", ["none", "third", "half", "all"])
    if depth != "none":
        stages.append(_finetune(trial, config, start.backbone, depth))
    update: dict[str, Any] = {"backbone": start.backbone, "weights": start.weights}
    update["backbone_options"] = dict(start.options)
    model = config.model.model_copy(update=update | {"fallback": None})
    return config.model_copy(update={"model": model, "stages": tuple(stages)})


def shortened(config: ExperimentConfig, part: int = 3) -> ExperimentConfig:
    """Returns a config with one `part`-th of the epochs, for a cheap first look at a trial."""

    def stage(old: StageConfig) -> StageConfig:
        steps = None if old.steps is None else max(1, old.steps // part)
        schedule = old.optimizer.schedule.model_copy(update={"warmup_steps": 0})
        optimizer = old.optimizer.model_copy(update={"schedule": schedule})
        update = {"epochs": max(1, old.epochs // part), "steps": steps, "optimizer": optimizer}
        return old.model_copy(update=update)

    return config.model_copy(update={"stages": tuple(map(stage, config.stages))})


def _head(trial) -> StageConfig:
    rate = trial.suggest_float("head_learning_rate", 1e-4, 3e-2, log=True)
    return StageConfig(
        name="head", train="head", epochs=EPOCHS[0], optimizer=OptimizerConfig(learning_rate=rate)
    )


def _finetune(trial, config: ExperimentConfig, backbone: str, depth: str) -> StageConfig:
    blocks = BACKBONES.get(backbone).depth
    train = {"third": f"last:{max(1, blocks // 3)}", "half": f"last:{max(1, blocks // 2)}", "all": "all"}[
        depth
    ]
    regularizer = trial.suggest_categorical("regularizer", ["none", "l2_sp", "bss"])
    augment = AugmentConfig()
    if searched := MODALITIES.get(BACKBONES.get(config.model.backbone).modalities[0]).searched:
        last = config.stages[-1]
        choices = {"as configured": last.augment if last.kind == "fit" else augment, **searched}
        augment = choices[trial.suggest_categorical("augment", list(choices))]
    optimizer = OptimizerConfig(
        learning_rate=trial.suggest_float("learning_rate", 1e-5, 3e-3, log=True),
        schedule=ScheduleConfig(name="cosine"),
    )
    return StageConfig(
        name="finetune",
        train=train,
        epochs=EPOCHS[1],
        bn=trial.suggest_categorical("bn", ["frozen", "inference", "train"]),
        optimizer=optimizer,
        layer_decay=trial.suggest_categorical("layer_decay", [1.0, 0.8]),
        augment=augment,
        regularizer=None if regularizer == "none" else RegularizerConfig(name=regularizer),
    )

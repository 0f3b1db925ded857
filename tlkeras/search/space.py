"""What an automatic search may change of a config."""

from typing import Any

from tlkeras.config import (
    AugmentConfig,
    ExperimentConfig,
    OptimizerConfig,
    RegularizerConfig,
    ScheduleConfig,
    StageConfig,
)
from tlkeras.models import BACKBONES

EPOCHS = (6, 12)  # of head and fine-tuning


def suggest(trial, config: ExperimentConfig, sources: list[tuple[str, str | None]]) -> ExperimentConfig:
    """Returns the config of a trial: a source, how deep it is opened, rates, regularizer, augmentation.

    Args:
        trial: An Optuna trial.
        config: The user's; data, head, runtime and cache stay as they are.
        sources: Backbones with their weights, the best first.
    """
    names = [f"{backbone}:{weights or 'none'}" for backbone, weights in sources]
    backbone, weights = sources[names.index(trial.suggest_categorical("source", names))]
    stages = [_head(trial)]
    depth = trial.suggest_categorical("depth", ["none", "third", "half", "all"])
    if depth != "none":
        stages.append(_finetune(trial, config, backbone, depth))
    options = config.model.backbone_options if backbone == config.model.backbone else {}
    update: dict[str, Any] = {"backbone": backbone, "weights": weights, "backbone_options": options}
    model = config.model.model_copy(update=update | {"fallback": None})
    return config.model_copy(update={"model": model, "stages": tuple(stages)})


def shortened(config: ExperimentConfig, part: int = 3) -> ExperimentConfig:
    """Returns a config that trains a part of the epochs, to see whether the rest is worth it."""

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
    if BACKBONES.get(config.model.backbone).input == "image":
        kind = trial.suggest_categorical("augment", ["as configured", "crop", "crop and colour"])
        augment = {
            "as configured": config.stages[-1].augment,
            "crop": AugmentConfig(crop=0.7),
            "crop and colour": AugmentConfig(crop=0.6, color=0.3),
        }[kind]
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

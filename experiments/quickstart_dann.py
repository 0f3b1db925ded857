"""Twemoji to OpenMoji: the eight categories of `emoji` in another drawing style, without labels.

Command:  tlkeras train --config=quickstart_dann --workdir=runs/quickstart_dann
Time:     about two minutes on two CPU cores, including the twin.
Expect:   a verdict; the twin reaches a target accuracy of .40 (mean of seeds 0 to 2).
"""

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="quickstart_dann",
        data=DataConfig(source="emoji:twemoji", image_size=96, batch_size=32),
        model=ModelConfig(
            backbone="efficientnet_lite0",
            weights="imagenet",
            neck=NeckConfig(bottleneck=256),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=20,
                optimizer=OptimizerConfig(
                    name="adam",
                    learning_rate=1e-3,
                    schedule=ScheduleConfig(name="cosine", warmup_steps=20),
                ),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann",
            target=DataConfig(source="emoji:openmoji"),
            weight=0.3,
            options={"units": [256]},
        ),
    )

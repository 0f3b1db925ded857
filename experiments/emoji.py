"""Eight categories of emoji, learned from a thousand drawings by a network pretrained on photographs.

Command:  tlkeras train --config=emoji --workdir=runs/emoji
Time:     about two minutes on two CPU cores, after the install: 90 s for the run and the rest for two twins.
Expect:   a test accuracy of .66 (.662 for each of seeds 0 to 2) and two verdicts. The transfer helped by 26
          points against a head on random features (seed 0). There is no difference from a logistic regression
          on the frozen features (.632). No emoji is in two splits.
"""

from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="emoji",
        data=DataConfig(source="emoji:twemoji", image_size=96, batch_size=32),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet"),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=10,
                optimizer=OptimizerConfig(name="adam", learning_rate=2e-3),
            ),
            StageConfig(
                name="finetune",
                train="last:6",
                epochs=10,
                bn="frozen",
                optimizer=OptimizerConfig(
                    name="adam",
                    learning_rate=3e-4,
                    schedule=ScheduleConfig(name="cosine", warmup_steps=20),
                ),
                layer_decay=0.8,
                augment=AugmentConfig(flip="horizontal", crop=0.7, rotation=10),
            ),
        ],
        verdict=VerdictConfig(twins=["random_features", "frozen_probe"]),
    )

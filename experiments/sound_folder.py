"""Your own sounds, in a folder with one sub-folder per class.

Command:  tlkeras train --config=sound_folder --set data.source=folder:DIR --workdir=runs/sounds
          Another duration: --set data.seconds=4
Time:     not measured.
Expect:   not measured.
"""

from tlkeras.config import (
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    FrontEndConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="sound_folder",
        data=DataConfig(source="folder:sounds", seconds=2.0, batch_size=32),
        model=ModelConfig(
            backbone="mobilenet_v2",
            weights="imagenet",
            fallback="efficientnet_lite0",
            front_end=FrontEndConfig(bands=96),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=15,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
            ),
            StageConfig(
                name="finetune",
                train="last:8",
                epochs=15,
                bn="frozen",
                optimizer=OptimizerConfig(
                    name="adam",
                    learning_rate=1e-4,
                    schedule=ScheduleConfig(name="cosine", warmup_steps=5),
                ),
                early_stopping=EarlyStoppingConfig(patience=6),
            ),
        ],
    )

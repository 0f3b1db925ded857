"""Your own pictures, in a folder with one sub-folder per class.

Command:  tlkeras train --config=image_folder --set data.source=folder:DIR --workdir=runs/mine
Time:     about a minute for 500 pictures on two CPU cores.
Expect:   a test accuracy of .85 on Fashion-MNIST with 500 pictures (docs/measured.md).

Pictures are not mirrored, because this harms characters. For photographs, stages.1.augment.flip=horizontal
may help.
"""

from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="image_folder",
        data=DataConfig(source="folder:pictures", image_size=96, batch_size=32),
        model=ModelConfig(
            backbone="mobilenet_v2",
            weights="imagenet",
            fallback="efficientnet_lite0",
            head=HeadConfig(name="linear", zero_init=True),
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
                    learning_rate="recommended",
                    schedule=ScheduleConfig(name="cosine", warmup_steps=5),
                ),
                label_smoothing="recommended",
                augment=AugmentConfig(crop=0.8),
                early_stopping=EarlyStoppingConfig(patience=6),
            ),
        ],
    )

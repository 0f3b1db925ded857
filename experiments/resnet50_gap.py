"""ResNet50 with global average pooling and a softmax over any number of classes.

Command:  tlkeras train --config=resnet50_gap --set data.source=folder:DIR --workdir=runs/gap
          The experiment resnet50_gap_dann adds an unlabelled target (DANN, adversarial).
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="resnet50_gap",
        data=DataConfig(source="folder:pictures", image_size=224, batch_size=32),
        model=ModelConfig(backbone="resnet50", weights="imagenet", neck=NeckConfig(pooling="avg")),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=5,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
            ),
            StageConfig(
                name="finetune",
                train="last:3",
                epochs=5,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-5),
            ),
        ],
    )

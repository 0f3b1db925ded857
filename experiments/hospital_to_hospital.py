"""Adapts from a hospital with labelled pictures to one without labels, and tests whether it helped.

Command:  tlkeras train --config=hospital_to_hospital --set data.source=folder:HERE \
              --set adaptation.target.source=folder:THERE --workdir=runs/hospitals

Scanners and stains change colour and contrast more than shape. CORAL makes the covariances of the features
alike, and at the end BatchNormalization takes the statistics of the new hospital.
"""

from tlkeras.config import (
    AdaptationConfig,
    AugmentConfig,
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
        name="hospital_to_hospital",
        data=DataConfig(source="folder:here", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="resnet50",
            weights="imagenet",
            fallback="efficientnet_lite0",
            neck=NeckConfig(bottleneck=256),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=5,
                adapt=False,
                class_weights="balanced",
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
            ),
            StageConfig(
                name="adapt",
                train="last:4",
                epochs=15,
                bn="train",
                class_weights="balanced",
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
                augment=AugmentConfig(flip="horizontal", rotation=10, color=0.2),
            ),
        ],
        adaptation=AdaptationConfig(
            method="deep_coral", target=DataConfig(source="folder:there"), batch_norm="adabn", seeds=3
        ),
    )

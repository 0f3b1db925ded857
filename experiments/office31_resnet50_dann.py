"""Office-31, Amazon to Webcam: the usual benchmark of domain adaptation, read from folders.

Command:  tlkeras train --config=office31_resnet50_dann --workdir=runs/office31
              --set data.source=folder:OFFICE31/amazon --set adaptation.target.source=folder:OFFICE31/webcam
Time:     about an hour on one GPU (not measured; we had neither a GPU nor the data).
Expect:   a target accuracy to compare with that of your own twin.

As in tllib, both heads follow a bottleneck of 256 units, the backbone's learning rate is a tenth of theirs,
and the domain classifier has the layers 1024-1024-1. Published gains over source-only training range from 0
to 7 points, depending on how well the twin was tuned. Compare with your own twin.
"""

from tlkeras.config import (
    AdaptationConfig,
    AugmentConfig,
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
        name="office31_resnet50_dann",
        data=DataConfig(source="folder:office31/amazon", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="resnet50",
            weights="imagenet",
            neck=NeckConfig(bottleneck=256),
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="all",
                epochs=20,
                bn="train",
                optimizer=OptimizerConfig(
                    name="sgd",
                    learning_rate=0.01,
                    schedule=ScheduleConfig(name="ganin"),
                    weight_decay=1e-3,
                    options={"momentum": 0.9, "nesterov": True},
                ),
                learning_rate_multipliers={"backbone": 0.1},
                augment=AugmentConfig(flip="horizontal", crop=0.7),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann",
            target=DataConfig(source="folder:office31/webcam"),
            options={"units": [1024, 1024]},
            seeds=3,
        ),
    )

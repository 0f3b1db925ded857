"""Adapts from rendered pictures with labels to photographs without labels.

Command:  tlkeras train --config=sim_to_real --set data.source=folder:RENDERED \
              --set adaptation.target.source=folder:PHOTOGRAPHS --workdir=runs/sim

Both domains get strong random colours and crops. The whole network adapts with a conditional domain
classifier (CDAN, Long et al. 2018).
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
        name="sim_to_real",
        data=DataConfig(source="folder:rendered", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="resnet50",
            weights="imagenet",
            fallback="efficientnet_lite0",
            neck=NeckConfig(bottleneck=256),
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="all",
                epochs=20,
                optimizer=OptimizerConfig(
                    name="sgd",
                    learning_rate=0.01,
                    schedule=ScheduleConfig(name="ganin"),
                    weight_decay=1e-3,
                    options={"momentum": 0.9, "nesterov": True},
                ),
                learning_rate_multipliers={"backbone": 0.1},
                augment=AugmentConfig(flip="horizontal", crop=0.6, color=0.4),
            ),
        ],
        adaptation=AdaptationConfig(
            method="cdan", target=DataConfig(source="folder:photographs"), options={"units": [1024, 1024]}
        ),
    )

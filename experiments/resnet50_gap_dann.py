"""The variant of resnet50_gap with an unlabelled target domain and gradient reversal (DANN).

Command:  tlkeras train --config=resnet50_gap_dann --set data.source=folder:SOURCE \
              --set adaptation.target.source=folder:TARGET --workdir=runs/gap_dann

As is usual for pretrained backbones, the bottleneck has 256 units, the backbone trains at a tenth of the
learning rate, and the domain classifier has the layers 1024-1024-1 (Ganin et al. 2016, section 5.2.4).
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
        name="resnet50_gap_dann",
        data=DataConfig(source="folder:source", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="resnet50", weights="imagenet", neck=NeckConfig(pooling="avg", bottleneck=256)
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="all",
                epochs=20,
                bn="frozen",
                optimizer=OptimizerConfig(
                    name="sgd",
                    learning_rate=0.01,
                    schedule=ScheduleConfig(name="ganin"),
                    weight_decay=1e-3,
                    options={"momentum": 0.9, "nesterov": True},
                ),
                learning_rate_multipliers={"backbone": 0.1},
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann", target=DataConfig(source="folder:target"), options={"units": [1024, 1024]}
        ),
    )

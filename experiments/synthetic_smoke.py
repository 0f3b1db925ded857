"""A first look in seconds, and the experiment on which all strategies must agree.

Command:  tlkeras train --config=synthetic_smoke --workdir=runs/smoke
Time:     about 15 s on two CPU cores.
Expect:   a test accuracy above .9 on four kinds of coloured shapes.

One device, mirrored replicas and several workers reach the same weights to 1e-5 (docs/scaling.md has the
numbers). Equal batches, no dropout and frozen BatchNorm are not enough for that. Sums over rows are rounded
differently when the rows are divided among replicas, and training must not magnify this. Therefore the
network is smooth (GELU, average pooling), Adam's epsilon is larger than the rounding error of a gradient,
and the learning rate falls to zero.
"""

from tlkeras.config import (
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
        name="synthetic_smoke",
        data=DataConfig(source="synthetic:shapes?n=1024", image_size=32, batch_size=32),
        model=ModelConfig(
            backbone="small_cnn",
            weights=None,
            backbone_options={"filters": [16, 32, 32], "activation": "gelu", "pool": "avg"},
            neck=NeckConfig(pooling="flatten"),
        ),
        stages=[
            StageConfig(name="head", train="head", epochs=2, optimizer=_adam(1e-3, "constant")),
            StageConfig(name="all", train="all", epochs=8, optimizer=_adam(5e-3, "cosine")),
        ],
    )


def _adam(learning_rate: float, schedule: str) -> OptimizerConfig:
    return OptimizerConfig(
        name="adam",
        learning_rate=learning_rate,
        schedule=ScheduleConfig(name=schedule),
        options={"epsilon": 1e-4},
    )

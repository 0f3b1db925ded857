"""A first look in seconds, and the case on which every strategy must agree.

Command:  tlkeras train --config=synthetic_smoke --workdir=runs/smoke
Time:     about 15 s on two CPU cores.
Expect:   a test accuracy above .9 on four kinds of coloured shapes.

No dropout and frozen BatchNorm, so one device, mirrored replicas and several workers reach equal weights.
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="synthetic_smoke",
        data=DataConfig(source="synthetic:shapes", image_size=32, batch_size=32),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[
            StageConfig(name="head", train="head", epochs=2, optimizer=OptimizerConfig(learning_rate=1e-2)),
            StageConfig(name="all", train="all", epochs=8, optimizer=OptimizerConfig(learning_rate=5e-3)),
        ],
    )

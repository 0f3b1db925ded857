"""A first look in seconds, and the case on which every strategy must agree.

Command:  tlkeras train --config=synthetic_smoke --workdir=runs/smoke
Time:     about 15 s on two CPU cores.
Expect:   a test accuracy above .9 on four kinds of coloured shapes.

No dropout and frozen BatchNorm, so one device, mirrored replicas and several workers reach equal weights.
Adam's epsilon is large enough not to magnify rounding: gradients of 1e-7 differ between them by a percent.
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
            StageConfig(name="head", train="head", epochs=2, optimizer=_adam(1e-2)),
            StageConfig(name="all", train="all", epochs=8, optimizer=_adam(5e-3)),
        ],
    )


def _adam(learning_rate: float) -> OptimizerConfig:
    return OptimizerConfig(name="adam", learning_rate=learning_rate, options={"epsilon": 1e-4})

"""The 8x8 digits of scikit-learn, trained from random weights in seconds.

Command:  tlkeras train --config=digits --workdir=runs/digits
Time:     about 15 s on two CPU cores.
Expect:   a test accuracy of .99.
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="digits",
        data=DataConfig(source="digits", image_size=16, batch_size=32),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[
            StageConfig(
                name="all",
                train="all",
                epochs=8,
                bn="train",
                optimizer=OptimizerConfig(name="adam", learning_rate=2e-3),
            ),
        ],
    )

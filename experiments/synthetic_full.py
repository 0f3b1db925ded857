"""A test of resuming in seconds, with BN, dropout, augmentation, Adam, a schedule and EMA.

Command:  tlkeras train --config=synthetic_full --workdir=runs/full
Time:     about 20 s on two CPU cores.
Expect:   a test accuracy above .95.
"""

from tlkeras.config import (
    AugmentConfig,
    CheckpointConfig,
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="synthetic_full",
        data=DataConfig(source="synthetic:shapes", image_size=32, batch_size=32),
        model=ModelConfig(
            backbone="small_cnn",
            weights=None,
            neck=NeckConfig(bottleneck=32, dropout=0.2),
            head=HeadConfig(name="mlp", units=(32,), dropout=0.2),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=2,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-2),
            ),
            StageConfig(
                name="all",
                train="all",
                epochs=4,
                bn="train",
                optimizer=OptimizerConfig(
                    name="adam",
                    learning_rate=3e-3,
                    schedule=ScheduleConfig(name="cosine", warmup_steps=5),
                    ema_momentum=0.9,
                ),
                augment=AugmentConfig(flip="horizontal", crop=0.8, color=0.2),
                early_stopping=EarlyStoppingConfig(patience=10),
            ),
        ],
        checkpoint=CheckpointConfig(every_steps=5),
    )

"""Two very unequal classes of medical pictures, measured by AUC and sensitivity at fixed specificity.

Command:  tlkeras train --config=medical_folder --set data.source=folder:DIR --workdir=runs/medical
          One sub-folder per class; the second in alphabetical order is the positive class of the AUC.

Class weights compensate for the rare class, and L2-SP keeps the fine-tuned weights near the pretrained
ones. The verdict says whether ImageNet weights helped, which is not certain for medical pictures (Raghu et
al. 2019).
"""

from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    RegularizerConfig,
    ScheduleConfig,
    StageConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="medical_folder",
        data=DataConfig(source="folder:pictures", image_size=224, batch_size=32, task="binary"),
        model=ModelConfig(
            backbone="efficientnet_b0",
            weights="imagenet",
            fallback="efficientnet_lite0",
            neck=NeckConfig(dropout=0.2),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=10,
                class_weights="balanced",
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
            ),
            StageConfig(
                name="finetune",
                train="last:4",
                epochs=20,
                class_weights="balanced",
                optimizer=OptimizerConfig(
                    name="adam",
                    learning_rate=1e-4,
                    schedule=ScheduleConfig(name="cosine"),
                ),
                augment=AugmentConfig(flip="horizontal", rotation=10, crop=0.8, color=0.1),
                early_stopping=EarlyStoppingConfig(patience=6),
                regularizer=RegularizerConfig(name="l2_sp", weight=0.01),
            ),
        ],
        verdict=VerdictConfig(twins=("scratch", "frozen_probe")),
    )

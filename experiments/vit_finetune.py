"""A vision transformer on your own pictures: a linear probe, then fine-tuning of all blocks with layer decay.

Command:  tlkeras train --config=vit_finetune --set data.source=folder:DIR --workdir=runs/vit
Weights:  DINOv2 from the Hugging Face Hub (extra `hub`). For a checkpoint on disk, set `model.weights` to its
          file or folder.
"""

from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ProbeConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment.

    Fine-tuning starts from the probe's head (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained
    Features"). Patch embedding and positions stay frozen. The learning rate shrinks by .7 per block, in the
    range of Bao et al. 2022, "BEiT", and Clark et al. 2020, "ELECTRA".
    """
    return ExperimentConfig(
        name="vit_finetune",
        data=DataConfig(source="folder:pictures", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="dinov2_small",
            weights="hf://facebook/dinov2-small",
            backbone_options={"drop_path_rate": 0.1},
        ),
        stages=[
            StageConfig(name="probe", probe=ProbeConfig(name="logistic_regression")),
            StageConfig(
                name="finetune",
                train="from:block_0",
                epochs=20,
                layer_decay=0.7,
                label_smoothing=0.1,
                optimizer=OptimizerConfig(
                    name="adamw",
                    learning_rate=2e-4,
                    weight_decay=0.05,
                    global_clipnorm=1.0,
                    schedule=ScheduleConfig(name="cosine", warmup_steps=50),
                ),
                augment=AugmentConfig(flip="horizontal", crop=0.6),
            ),
        ],
    )

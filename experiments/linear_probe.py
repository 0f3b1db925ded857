"""A linear probe on your own pictures: logistic regression on the features of a frozen vision transformer.

Command:  tlkeras train --config=linear_probe --set data.source=folder:DIR --workdir=runs/probe
Weights:  DINOv2 from the Hugging Face Hub (extra `hub`). For a checkpoint on disk, set `model.weights` to its
          file or folder. Any other backbone can be probed with `--set model.backbone=NAME`.
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment. Its neck is the one that the backbone's paper uses in probes."""
    return ExperimentConfig(
        name="linear_probe",
        data=DataConfig(source="folder:pictures", image_size=224, batch_size=32),
        model=ModelConfig(backbone="dinov2_small", weights="hf://facebook/dinov2-small"),
        stages=[StageConfig(name="probe", probe=ProbeConfig(name="logistic_regression"))],
    )

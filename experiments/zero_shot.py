"""Pictures classified by the names of their classes alone (zero-shot), with CLIP. Nothing is trained.

Command:  tlkeras train --config=zero_shot --set data.source=folder:DIR --workdir=runs/zero_shot
Weights:  CLIP from the Hugging Face Hub (extras `hub` and `text`). SigLIP: `--set model.backbone=siglip_base
          --set model.weights=hf://google/siglip-base-patch16-224`.
Prompts:  `--set 'model.head.prompts=["a photo of a {}.", "a drawing of a {}."]'`. The folders have
          the names of the classes, and `model.head.class_names` gives others.
Next:     stages with `train="head"` or `train="last:2"` continue from the names of the classes.
"""

from tlkeras.config import DataConfig, ExperimentConfig, HeadConfig, ModelConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="zero_shot",
        data=DataConfig(source="folder:pictures", image_size=224, batch_size=32),
        model=ModelConfig(
            backbone="clip_base_32",
            weights="hf://openai/clip-vit-base-patch32",
            head=HeadConfig(name="class_names", prompts=["a photo of a {}."]),
        ),
        stages=[],
    )

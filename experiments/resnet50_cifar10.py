"""CIFAR-10 with ResNet50: pictures resized to 256 and cropped to 224, head first, then fine-tuning.

Command:  tlkeras train --config=resnet50_cifar10 --workdir=runs/cifar10
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    sgd = OptimizerConfig(name="sgd", learning_rate=1e-3, options={"momentum": 0.9})
    return ExperimentConfig(
        name="resnet50_cifar10",
        data=DataConfig(
            source="tfds:cifar10",
            image_size=224,
            resize="crop",
            crop_fraction=224 / 256,
            batch_size=64,
        ),
        model=ModelConfig(backbone="resnet50", weights="imagenet"),
        stages=[
            StageConfig(name="head", train="head", epochs=10, optimizer=sgd),
            StageConfig(
                name="finetune",
                train="last:3",
                epochs=10,
                optimizer=sgd.model_copy(update={"learning_rate": 1e-4}),
            ),
        ],
    )

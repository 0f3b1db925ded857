"""VGG16, flatten, a Dense layer of 1024 and softmax over ten classes, trained with Adam at 1e-4.

Command:  tlkeras train --config=vgg16_ten_classes --workdir=runs/ten
          Any ten classes of your own: --set data.source=folder:DIR
"""

from tlkeras.config import DataConfig, ExperimentConfig, HeadConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="vgg16_ten_classes",
        data=DataConfig(source="tfds:imagenette/160px-v2", image_size=150, batch_size=32),
        model=ModelConfig(
            backbone="vgg16",
            weights="imagenet",
            head=HeadConfig(name="flatten_dense", units=(1024,), activation="relu"),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=10,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
            ),
        ],
    )

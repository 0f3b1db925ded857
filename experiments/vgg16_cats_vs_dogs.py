"""The classic example: a frozen VGG16, flatten, a Dense layer of 1024, and softmax over cats and dogs.

Command:  tlkeras train --config=vgg16_cats_vs_dogs --workdir=runs/cats
Time:     about 10 minutes on one GPU (not measured; we had none).
Expect:   a test accuracy of about .9, as reported for such networks; not measured by us, because data and
          weights need a download.

The loss is categorical cross-entropy, as in the classic example. It is computed from class numbers
("sparse"), which gives the same value as one-hot labels: minus the log-probability of the true class.
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="vgg16_cats_vs_dogs",
        data=DataConfig(
            source="tfds:cats_vs_dogs",
            image_size=150,
            batch_size=64,
            split_names={"train": "train[:80%]", "val": "train[80%:90%]", "test": "train[90%:]"},
        ),
        model=ModelConfig(
            backbone="vgg16",
            weights="imagenet",
            neck=NeckConfig(pooling="flatten"),
            head=HeadConfig(name="mlp", units=(1024,), activation="relu"),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=5,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-4),
            ),
        ],
    )

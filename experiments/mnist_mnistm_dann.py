"""MNIST to MNIST-M: labelled digits, and unlabelled digits that are blended into photographs.

Command:  tlkeras train --config=mnist_mnistm_dann --workdir=runs/mnistm
          MNIST comes from TFDS; with an .npz file of it (x_train, y_train, x_test, y_test):
          --set data.source=npz:FILE --set adaptation.target.source=mnist_m:npz:FILE
Time:     about three minutes on two CPU cores for the run, and as long again for its twin.
Expect:   a target accuracy of .73 (.781, .739, .684 for seeds 0 to 2); .59 for the twin.

Network, strength and learning rate are those of Ganin et al. (2016), figure 4a and section 5.2.2. The paper
reports .5225 for source only and .7666 for DANN, with photographs of BSDS500. Here MNIST-M is made from six
photographs of scikit-image and scikit-learn.
"""

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
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
        name="mnist_mnistm_dann",
        data=DataConfig(source="tfds:mnist", image_size=28, batch_size=32, val_fraction=0.02),
        model=ModelConfig(
            backbone="dann_digits",
            weights=None,
            neck=NeckConfig(pooling="flatten"),
            head=HeadConfig(name="mlp", units=(100, 100)),
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="all",
                steps=8600,
                steps_per_execution=50,
                optimizer=OptimizerConfig(
                    name="sgd",
                    learning_rate=0.01,
                    schedule=ScheduleConfig(name="ganin"),
                    options={"momentum": 0.9},
                ),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann",
            target=DataConfig(source="mnist_m:tfds:mnist"),
            options={"units": [100]},
        ),
    )

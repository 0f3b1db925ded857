"""Pretrains on unlabelled digits by matching two views of each (SimCLR), then on ten labels per class.

Command:  tlkeras train --config=simclr_then_few_labels --workdir=runs/simclr
Time:     about 90 s on two busy CPU cores, and 10 s for the twin from scratch.
Expect:   a test accuracy of .96 (.950, .964, .964 for seeds 0 to 2; from scratch .950, .930, .914).
Your own: --set tasks.source.source=folder:UNLABELLED --set data.source=folder:LABELLED
"""

from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    PretextConfig,
    StageConfig,
    TasksConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    adam = OptimizerConfig(name="adam", learning_rate=2e-3)
    views = AugmentConfig(crop=0.4, rotation=15.0, color=0.4)  # mirrored digits are no digits
    return ExperimentConfig(
        name="simclr_then_few_labels",
        data=DataConfig(source="digits", image_size=16, batch_size=32, per_class=10),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[StageConfig(name="few_labels", train="all", bn="train", epochs=40, optimizer=adam)],
        tasks=TasksConfig(
            source=DataConfig(
                source="digits", image_size=16, batch_size=128,
                pretext=PretextConfig(name="simclr", temperature=0.5, dimensions=64),
            ),
            head=HeadConfig(name="mlp", units=(128,)),
            stages=[
                StageConfig(
                    name="simclr", train="all", bn="train", epochs=40, optimizer=adam, augment=views
                )
            ],
        ),
        verdict=VerdictConfig(twins=("scratch",)),
    )  # fmt: skip

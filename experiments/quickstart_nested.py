"""An earlier model inside a new one: its answers on OpenMoji join the features of the backbone.

Command:  tlkeras train --config=emoji --workdir=runs/emoji
          tlkeras train --config=quickstart_nested --workdir=runs/nested
Time:     about half a minute on two CPU cores, after `emoji`.
Expect:   a test accuracy of .41 (.445, .390, .382 for seeds 0 to 2; without that model .423, .386, .397).
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NestedConfig,
    OptimizerConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment, whose data are drawn in another style than the earlier model's."""
    return ExperimentConfig(
        name="quickstart_nested",
        data=DataConfig(source="emoji:openmoji", image_size=96, batch_size=32, per_class=10),
        model=ModelConfig(
            backbone="efficientnet_lite0",
            weights="imagenet",
            nested=NestedConfig(source="runs/emoji"),
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=20,
                optimizer=OptimizerConfig(name="adam", learning_rate=2e-3),
            ),
        ],
    )

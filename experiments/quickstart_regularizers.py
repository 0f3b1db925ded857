"""Regularizers that keep fine-tuned weights near the source, with ten drawings per category.

Command:  tlkeras sweep --config=quickstart_regularizers --workdir=runs/regularizers --seeds=3
Time:     about twelve minutes on two busy CPU cores for the 24 runs.
Expect:   test accuracies of .43 for plain fine-tuning and .43 to .46 for the others. The differences are too
          small for 272 test rows and three seeds; see docs/did_it_help.md.
"""

from collections.abc import Iterator
from typing import Any

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns plain fine-tuning: the head on the frozen backbone, then everything."""
    return ExperimentConfig(
        name="quickstart_regularizers",
        data=DataConfig(source="emoji:twemoji", image_size=96, batch_size=16, per_class=10),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet"),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=20,
                optimizer=OptimizerConfig(name="adam", learning_rate=2e-3),
            ),
            StageConfig(
                name="finetune",
                train="all",
                epochs=15,
                optimizer=OptimizerConfig(
                    name="adam", learning_rate=3e-4, schedule=ScheduleConfig(name="cosine")
                ),
            ),
        ],
    )


def sweep() -> Iterator[dict[str, Any]]:
    """Yields what the runs differ in: nothing first, then a regularizer of the last stage."""
    name, options = "stages.finetune.regularizer.name", "stages.finetune.regularizer.options"
    yield {}
    for regularizer in ("l2_sp", "delta", "bss", "mixout", "co_tuning"):
        yield {name: regularizer}
    yield {name: "stochastic_norm", "stages.finetune.bn": "train"}
    yield {name: "lora", options: {"rank": 4}}

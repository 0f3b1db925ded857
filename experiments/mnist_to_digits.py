"""Two tasks: MNIST is the source task, scikit-learn's digits with ten labels per class are the target.

Command:  tlkeras sweep --config=mnist_to_digits --workdir=runs/sharing --seeds=3
          MNIST comes from TFDS; with an .npz file of it (x_train, y_train, x_test, y_test):
          --set tasks.source.source=npz:FILE
Time:     about ten minutes on two busy CPU cores for the twelve runs and their twins.
Expect:   target accuracies of .95 (`share_weights`), .93 (`private_first`, `share_gradients` and from
          scratch) and .83 (`fix_common`, which *hurts*); see docs/sharing.md.
One run:  tlkeras train --config=mnist_to_digits --workdir=runs/digits   (`share_weights`)
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
    TasksConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment, and training from scratch that it is judged by."""
    falling = OptimizerConfig(name="adam", learning_rate=2e-3, schedule=ScheduleConfig(name="cosine"))
    return ExperimentConfig(
        name="mnist_to_digits",
        data=DataConfig(source="digits", image_size=28, batch_size=25, per_class=10),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[StageConfig(name="target", train="all", bn="train", epochs=30, optimizer=falling)],
        tasks=TasksConfig(
            source=DataConfig(source="tfds:mnist", image_size=28, batch_size=25, limit=5000),
            stages=[StageConfig(name="source", train="all", bn="train", epochs=4, optimizer=falling)],
        ),
        verdict=VerdictConfig(twins=("scratch",)),
    )


def sweep() -> Iterator[dict[str, Any]]:
    """Yields the strategies of sharing; a head alone and two tasks at once need more steps."""
    epochs, rate = "stages.target.epochs", "stages.target.optimizer.learning_rate"
    yield {"tasks.strategy": "fix_common", epochs: 120, rate: 1e-2}
    yield {"tasks.strategy": "share_weights"}
    yield {"tasks.strategy": "private_first"}
    yield {"tasks.strategy": "share_gradients", epochs: 120}

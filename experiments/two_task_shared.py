"""Two tasks on vectors of 100 features: a common layer of 64, private layers of 64, ten classes per task.

Command:  tlkeras train --config=two_task_shared --set data.source=npz:FIRST.npz \
              --set tasks.source.source=npz:SECOND.npz --workdir=runs/two

Each file holds x_train (n, 100), y_train (n,) and optionally x_test and y_test. Other strategies: --set
tasks.strategy=fix_common, share_weights or private_first.
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    TasksConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    private = HeadConfig(name="mlp", units=(64,))
    adam = OptimizerConfig(name="adam", learning_rate=1e-3)
    return ExperimentConfig(
        name="two_task_shared",
        data=DataConfig(source="npz:first.npz", batch_size=32),
        model=ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [64]}, head=private),
        stages=[StageConfig(name="both", train="all", epochs=10, optimizer=adam)],
        tasks=TasksConfig(
            strategy="share_gradients",
            source=DataConfig(source="npz:second.npz", batch_size=32),
            head=private,
            stages=[StageConfig(name="source", train="all", epochs=10, optimizer=adam)],
        ),
    )

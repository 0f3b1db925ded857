"""Experiments of the tests of whole runs: everything small, nothing random that depends on the replicas."""

from tlkeras.config import (
    AdaptationConfig,
    CacheConfig,
    CheckpointConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
    TensorBoardConfig,
)

SGD = OptimizerConfig(
    name="sgd", learning_rate=0.05, options={"momentum": 0.9}, global_clipnorm=0.5,
    schedule=ScheduleConfig(name="cosine", warmup_steps=3),
)  # fmt: skip


def experiment(name: str, cache_dir: str) -> ExperimentConfig:
    """Returns `stages` (nothing cached) or `adapted` (DANN; the first stage trains on cached features)."""
    adam = OptimizerConfig(
        name="adam", learning_rate=0.01, options={"epsilon": 1e-3}, accumulate_steps=2, ema_momentum=0.8
    )
    shapes = {"image_size": 16, "batch_size": 8}
    adapted = name == "adapted"
    opened = "last:2" if adapted else "all"
    stages = [
        # a frozen backbone leaves DANN nothing to move: it begins in the second stage
        StageConfig(name="head", train="head", epochs=3, optimizer=SGD, adapt=False),
        StageConfig(name="all", train=opened, epochs=4, optimizer=adam, steps_per_execution=2),
    ]
    return ExperimentConfig(
        name=name,
        data=DataConfig(source="synthetic:shapes?n=88&size=16", limit=40, **shapes),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [8, 8, 16]}),
        stages=stages,
        adaptation=AdaptationConfig(
            method="dann",
            options={"units": [8]},
            target=DataConfig(source="synthetic:shapes?n=88&size=16&shift=0.4", limit=40, **shapes),
            twin=False,
        )
        if adapted
        else None,
        cache=CacheConfig(enabled=adapted, dir=cache_dir),
        checkpoint=CheckpointConfig(every_steps=2),
        tensorboard=TensorBoardConfig(images=False),
    )

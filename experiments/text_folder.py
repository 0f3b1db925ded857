"""Your own texts, in a folder with one sub-folder of .txt files per class.

Command:  tlkeras train --config=text_folder --set data.source=text_folder:DIR \
              --set model.weights=MINILM --workdir=runs/texts
          docs/text.md says how to get weights (MINILM); a list is data.source=csv:FILE and data.text=COLUMN

The head learns first, then the last two blocks are fine-tuned. The verdict says whether that is better than
the frozen backbone with a new head.
"""

from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="text_folder",
        data=DataConfig(source="text_folder:texts", max_length=128),
        model=ModelConfig(backbone="minilm_l6", weights="minilm"),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=5,
                optimizer=OptimizerConfig(name="adam", learning_rate=5e-3),
            ),
            StageConfig(
                name="finetune",
                train="last:2",
                epochs=2,
                optimizer=OptimizerConfig(name="adamw", learning_rate=5e-5, weight_decay=0.01),
            ),
        ],
        verdict=VerdictConfig(twins=("frozen_probe",)),
    )

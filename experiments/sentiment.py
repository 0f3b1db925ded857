"""Kind or unkind: sentences of film reviews, learned from a thousand by a pretrained sentence encoder.

Command:  tlkeras train --config=sentiment --set model.weights=MINILM --workdir=runs/sentiment
          docs/text.md says how to get the weights (MINILM) and films.csv (benchmarks/text_data.py)

MiniLM-L6 (Wang et al. 2020) turns tokens into vectors, of which the mean is classified. The head learns
first, then the last two blocks are fine-tuned.
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="sentiment",
        data=DataConfig(
            source="csv:films.csv",
            text="text",
            max_length=48,
            limit={"train": 1000, "val": 500, "test": 2000},
        ),
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
    )

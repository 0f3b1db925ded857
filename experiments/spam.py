"""Spam or ham: e-mails of SpamAssassin's public corpus, learned from a thousand by a sentence encoder.

Command:  tlkeras train --config=spam --set model.weights=MINILM --workdir=runs/spam
          docs/text.md says how to get the weights (MINILM) and spam.csv (benchmarks/text_data.py)

A message is read as its subject and body, of which the first 128 tokens count.
"""

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, OptimizerConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="spam",
        data=DataConfig(
            source="csv:spam.csv",
            text="text",
            max_length=128,
            limit={"train": 1000, "val": 500, "test": 1000},
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

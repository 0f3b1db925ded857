"""Film reviews with labels to product reviews without: the sentiment of sentences, adapted.

Command:  tlkeras train --config=sentiment_across_domains --set model.weights=MINILM --workdir=runs/across
          docs/text.md says how to get the weights (MINILM) and the files (benchmarks/text_data.py)
          Other targets: --set adaptation.target.source=csv:tweets.csv, or csv:editorials.csv

A domain classifier behind a reversed gradient (DANN, Ganin et al. 2016) trains a bottleneck on the frozen
features of MiniLM-L6, and the verdict compares with the twin that trains on film reviews alone.
"""

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="sentiment_across_domains",
        data=DataConfig(
            source="csv:films.csv",
            text="text",
            max_length=48,
            limit={"train": 1000, "val": 500, "test": 500},
        ),
        model=ModelConfig(backbone="minilm_l6", weights="minilm", neck=NeckConfig(bottleneck=128)),
        stages=[
            StageConfig(
                name="adapt",
                train="head",
                epochs=10,
                optimizer=OptimizerConfig(name="adam", learning_rate=1e-3),
            ),
        ],
        adaptation=AdaptationConfig(
            method="dann",
            target=DataConfig(
                source="csv:products.csv", limit={"train": 1000, "val": 300}, test_fraction=0.4
            ),
            options={"units": [128]},
        ),
    )

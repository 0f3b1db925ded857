"""Your own pictures with texts, listed in a CSV file with the columns `picture`, `text` and `label`.

Command:  tlkeras train --config=csv_with_pictures_and_text --set data.source=csv:FILE \
              --set model.beside.text.weights=MINILM --workdir=runs/both
          docs/text.md says how to get weights (MINILM). Other names: --set data.picture=photo
          --set data.text=title. Numbers and categories too: --set data.columns=age,city
          --set model.beside.columns.backbone=mlp
Time:     not measured.
Expect:   a test accuracy of .79 on the emoji of benchmarks/emoji_rows.py (.77 for the text alone, .62 for the
          picture alone; one seed, 272 rows; docs/several_inputs.md)

The head learns first on the features of both. Then the last blocks of both backbones are fine-tuned. The
verdict says what each part is worth beside the other. Each part of a row may be empty.
"""

from tlkeras.config import (
    BesideConfig,
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
        name="csv_with_pictures_and_text",
        data=DataConfig(source="csv:rows.csv", picture="picture", text="text", image_size=96, max_length=64),
        model=ModelConfig(
            backbone="mobilenet_v2",
            weights="imagenet",
            fallback="efficientnet_lite0",
            beside={"text": BesideConfig(backbone="minilm_l6", weights="minilm")},
        ),
        stages=[
            StageConfig(
                name="head",
                train="head",
                epochs=10,
                optimizer=OptimizerConfig(name="adam", learning_rate=5e-3),
            ),
            StageConfig(
                name="finetune",
                train="image=last:2,text=last:2",
                epochs=3,
                bn="frozen",
                optimizer=OptimizerConfig(name="adamw", learning_rate=5e-5, weight_decay=0.01),
            ),
        ],
        verdict=VerdictConfig(twins=("text_alone", "image_alone")),
    )

"""Eight kinds of emoji by picture and name: a logistic regression on frozen EfficientNet-Lite0 and MiniLM.

Command:  tlkeras train --config=emoji_by_picture_and_name --set model.beside.text.weights=MINILM
          --workdir=runs/both
          docs/text.md says how to get the weights (MINILM).
Time:     about two minutes of CPU time for the run, and less for each of its two twins
Expect:   test accuracies of .776 with both, .754 with the name and .618 with the picture alone (one seed, 272
          rows). The verdict is that the name helps, and that the picture makes no certain difference
"""

from tlkeras.config import (
    BesideConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    ProbeConfig,
    StageConfig,
    VerdictConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="emoji_by_picture_and_name",
        data=DataConfig(source="emoji:twemoji", picture="picture", text="name", image_size=96, max_length=24),
        model=ModelConfig(
            backbone="efficientnet_lite0",
            weights="imagenet",
            beside={"text": BesideConfig(backbone="minilm_l6", weights="minilm")},
        ),
        stages=[StageConfig(name="probe", probe=ProbeConfig(name="logistic_regression"))],
        verdict=VerdictConfig(twins=("text_alone", "image_alone")),
    )

"""Logistic regression, SVM, prototypes and kNN, fitted on the frozen features of `emoji`.

Command:  tlkeras sweep --config=quickstart_probes --workdir=runs/probes
Time:     about half a minute on two CPU cores, most of it for the one pass through the backbone.
Expect:   test accuracies of .63 (logistic regression), .61 (SVM), .53 (prototypes, 1 or 5 neighbours) and .46
          (15 neighbours).
One run:  tlkeras train --config=quickstart_probes --workdir=runs/probe   (logistic regression)
"""

from collections.abc import Iterator
from typing import Any

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, StageConfig


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    return ExperimentConfig(
        name="quickstart_probes",
        data=DataConfig(source="emoji:twemoji", image_size=96, batch_size=32),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet"),
        stages=[StageConfig(name="probe", probe=ProbeConfig(name="logistic_regression"))],
    )


def sweep() -> Iterator[dict[str, Any]]:
    """Yields what the runs differ in."""
    for name in ("logistic_regression", "linear_svm", "prototypes"):
        yield {"stages.probe.probe.name": name}
    for neighbors in (1, 5, 15):
        yield {
            "stages.probe.probe.name": "knn",
            "model.head.name": "neighbors",
            "model.head.neighbors": neighbors,
        }

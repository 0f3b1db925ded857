"""Twemoji to OpenMoji without gradients: a probe on source features that are mapped to the target's.

Command:  tlkeras sweep --config=quickstart_mappings --workdir=runs/mappings
Time:     about a minute and a half on two CPU cores, including the twins.
Expect:   target accuracies of .37 without a map, .40 with CORAL, .57 with the linear map, which uses pairs,
          and .33 and .20 with subspace alignment, the second of which *hurt*.
"""

from collections.abc import Iterator
from typing import Any

from tlkeras.config import (
    AdaptationConfig,
    DataConfig,
    ExperimentConfig,
    MappingConfig,
    ModelConfig,
    ProbeConfig,
    StageConfig,
)


def get_config() -> ExperimentConfig:
    """Returns the experiment."""
    probe = ProbeConfig(name="logistic_regression", mapping=MappingConfig(name="coral"))
    return ExperimentConfig(
        name="quickstart_mappings",
        data=DataConfig(source="emoji:twemoji", image_size=96, batch_size=32),
        model=ModelConfig(backbone="efficientnet_lite0", weights="imagenet"),
        stages=[StageConfig(name="probe", probe=probe)],
        adaptation=AdaptationConfig(method="none", target=DataConfig(source="emoji:openmoji")),
    )


def sweep() -> Iterator[dict[str, Any]]:
    """Yields what the runs differ in; each run's twin is the same probe without the map."""
    name, options = "stages.probe.probe.mapping.name", "stages.probe.probe.mapping.options"
    yield {name: "coral"}
    for dimensions in (32, 128):
        yield {name: "subspace_alignment", options: {"dimensions": dimensions}}
    yield {name: "linear_map"}  # an emoji has the same id in both styles

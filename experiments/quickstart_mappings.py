"""Twemoji to OpenMoji without gradients: features mapped to where the target lies, and a probe on them.

Command:  tlkeras sweep --config=quickstart_mappings --workdir=runs/mappings
Time:     about a minute and a half on two CPU cores, the twins included.
Expect:   a target accuracy of .37 without a map, .40 by CORAL, .57 by the linear map, which knows pairs;
          .33 and .20 by subspace alignment, the second of which *hurt*.
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

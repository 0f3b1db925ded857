"""The choice of the extractor of a trunk, and its cost. Both are estimated, so they never change."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.backend.devices import accelerators
from tlkeras.config import CacheConfig
from tlkeras.features.extractors import EXTRACTORS, Trunk, relative_difference, suits_xnnpack
from tlkeras.models.cuts.graph import nodes_in_order

# Floating-point operations per second, measured for MobileNetV2 and ResNet50 (docs/scale.md).
CORE_RATE, ACCELERATOR_RATE = 1e11, 5e13
# XNNPACK on depthwise convolutions: seconds of its setup, and its speed relative to `exact`.
XNNPACK_SETUP, XNNPACK_SPEEDUP = 1.5, 1.5


@dataclass(frozen=True)
class Chosen:
    """An extractor whose outputs agree with `exact`.

    Attributes:
        name: Name in `EXTRACTORS`.
        extract: Function from raw inputs `(batch, ...)` to outputs `(batch, ...)`.
    """

    name: str
    extract: Callable[[Any], np.ndarray]


def named_by(config: CacheConfig, trunk: Trunk, rows: int) -> str:
    """Returns the name of the extractor that a config asks for.

    The choice of `auto` follows a rule. It does not measure time and does not depend on stored features, so
    that a run does not depend on earlier runs or on the load of the machine.

    Args:
        config: Config whose `extractor` is a name or `auto`.
        trunk: Trunk whose outputs are wanted.
        rows: Number of wanted rows, including stored ones.
    """
    if config.extractor != "auto":
        return config.extractor
    saved = rows * expected_seconds_per_row(trunk) * (1 - 1 / XNNPACK_SPEEDUP)
    return "tflite" if suits_xnnpack(trunk) and saved > XNNPACK_SETUP else "exact"


def accepted(name: str, trunk: Trunk, first_batch: Callable[[], Any], tolerance: float) -> Chosen:
    """Returns the named extractor if it agrees with `exact` on a batch, else `exact` (with a notice).

    Args:
        name: Name in `EXTRACTORS`.
        trunk: Trunk whose outputs are wanted.
        first_batch: Function that returns a real batch of raw inputs.
        tolerance: Allowed difference from `exact` as a fraction of the spread of the features.
    """
    exact = EXTRACTORS.get("exact")(trunk)
    if name == "exact":
        return Chosen(name, exact)
    batch = first_batch()
    try:
        extract = EXTRACTORS.get(name)(trunk)
        difference = relative_difference(extract(batch), exact(batch))
    except Exception as error:  # a converter may raise any error for a model that it does not support
        messages.note(f"The extractor {name} cannot take this backbone: {str(error).splitlines()[0][:200]}")
        return Chosen("exact", exact)
    if difference <= tolerance:
        return Chosen(name, extract)
    messages.note(
        f"The extractor {name} differs from exact by {difference:.2g} of the features' spread, more than "
        f"cache.tolerance={tolerance:g}: exact is used."
    )
    return Chosen("exact", exact)


def expected_seconds_per_row(trunk: Trunk) -> float:
    """Returns the estimated seconds of `exact` per row, from the operations of the trunk and the device."""
    rate = ACCELERATOR_RATE * trunk.replicas if accelerators() else CORE_RATE * trunk.threads
    return operations(trunk) / rate


def operations(trunk: Trunk) -> float:
    """Returns the floating-point operations of a row. Each weight is used at each place of the output."""
    total = 0
    for node in nodes_in_order(trunk.model):
        weights = [weight.shape for weight in getattr(node.operation, "weights", ())]
        places = int(np.prod(node.output_tensors[0].shape[1:-1]))
        total += 2 * places * sum(int(np.prod(shape)) for shape in weights if len(shape) > 1)
    return float(total)

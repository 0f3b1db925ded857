"""Which extractor computes a trunk, and what it costs, by counting: the same answer at every start."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tlkeras import messages
from tlkeras.backend.devices import accelerators
from tlkeras.config import CacheConfig
from tlkeras.features.extractors import EXTRACTORS, Trunk, relative_difference, suits_xnnpack
from tlkeras.models.cuts.graph import nodes_in_order

# Floating-point operations a second, as measured for MobileNetV2 and ResNet50 (docs/scale.md).
CORE_RATE, ACCELERATOR_RATE = 1e11, 5e13
# XNNPACK on depthwise convolutions: seconds until it is ready, and how many times faster than exact it is.
XNNPACK_SETUP, XNNPACK_SPEEDUP = 1.5, 1.5


@dataclass(frozen=True)
class Chosen:
    """An extractor that may be trusted.

    Attributes:
        name: Its name in `EXTRACTORS`.
        extract: `(batch, ...)` raw inputs to `(batch, ...)` outputs.
    """

    name: str
    extract: object


def named_by(config: CacheConfig, trunk: Trunk, rows: int) -> str:
    """Returns the name of the extractor that a config asks for.

    `auto` is a rule, not a measurement, and does not look at what is kept: a run must not depend on what
    ran before it, or on what else the machine does.

    Args:
        config: `extractor` names one or says `auto`.
        trunk: The trunk.
        rows: How many rows are wanted, kept ones included.
    """
    if config.extractor != "auto":
        return config.extractor
    saved = rows * expected_seconds_per_row(trunk) * (1 - 1 / XNNPACK_SPEEDUP)
    return "tflite" if suits_xnnpack(trunk) and saved > XNNPACK_SETUP else "exact"


def accepted(name: str, trunk: Trunk, first_batch: Callable[[], np.ndarray], tolerance: float) -> Chosen:
    """Returns the extractor of a name where it agrees with exact on a batch; else, with a notice, exact.

    Args:
        name: Its name in `EXTRACTORS`.
        trunk: The trunk.
        first_batch: Returns a real batch of raw inputs.
        tolerance: What may differ from exact, as a fraction of the features' spread.
    """
    exact = EXTRACTORS.get("exact")(trunk)
    if name == "exact":
        return Chosen(name, exact)
    batch = first_batch()
    try:
        extract = EXTRACTORS.get(name)(trunk)
        difference = relative_difference(extract(batch), exact(batch))
    except Exception as error:  # a converter may fail in any way on a model it does not know
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
    """Returns what exact takes for a row on devices of this kind, reckoned from the trunk's operations."""
    rate = ACCELERATOR_RATE * trunk.replicas if accelerators() else CORE_RATE * trunk.threads
    return operations(trunk) / rate


def operations(trunk: Trunk) -> float:
    """Returns the floating-point operations of a row: each weight is used at each place of the output."""
    total = 0
    for node in nodes_in_order(trunk.model):
        weights = [weight.shape for weight in getattr(node.operation, "weights", ())]
        places = int(np.prod(node.output_tensors[0].shape[1:-1]))
        total += 2 * places * sum(int(np.prod(shape)) for shape in weights if len(shape) > 1)
    return float(total)

"""Ways to compute a frozen trunk's outputs, from the plain function to XNNPACK."""

import os
from functools import cached_property

import keras
import numpy as np

from tlkeras.backend import extraction
from tlkeras.backend.devices import accelerators
from tlkeras.models.cuts.folding import Folded
from tlkeras.registry import Registry

EXTRACTORS: Registry = Registry("extractor")


class Trunk:
    """A trunk traced once; every extractor starts from the same trace.

    Args:
        model: A functional model, raw inputs (one tensor, or a dict) -> one tensor, all of it frozen.
        batch_size: Rows per call; fixed, so that results do not depend on how rows are grouped.
        strategy: The run's strategy; None is one device.
        threads: Threads of extractors that do not use TensorFlow's; None is all cores.

    Attributes:
        call: The function from a batch of inputs to outputs.
        replicas: Devices of this process that may share a batch.
    """

    def __init__(self, model: keras.Model, batch_size: int, strategy=None, threads: int | None = None):
        self.model = model
        self.batch_size = batch_size
        self.strategy = strategy
        self.threads = threads or os.cpu_count() or 1
        self.call = Folded(model)
        self.replicas = extraction.local_replicas(strategy)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one row of outputs."""
        return tuple(self.model.output_shape[1:])

    @cached_property
    def graph(self):
        """The traced function of one batch."""
        inputs = {x.name: ((self.batch_size, *x.shape[1:]), x.dtype) for x in self.model.inputs}
        return extraction.graph_of(self.call, inputs)


@EXTRACTORS.register("exact")
def exact(trunk: Trunk):
    """What the model computes in a step, on every device of this process; the others are compared with it."""
    if trunk.replicas > 1 and trunk.batch_size % trunk.replicas == 0:
        return extraction.by_replicas(trunk.call, trunk.strategy, trunk.batch_size)
    return extraction.by_graph(trunk.graph)


@EXTRACTORS.register("folded")
def folded(trunk: Trunk):
    """Variables folded into the graph as constants."""
    return extraction.by_constants(trunk.graph)


@EXTRACTORS.register("tflite")
def tflite(trunk: Trunk):
    """TensorFlow Lite with XNNPACK on CPU: faster for depthwise convolutions, after a second to convert."""
    return extraction.by_tflite(trunk.graph, trunk.threads)


def suits_xnnpack(trunk: Trunk) -> bool:
    """Whether XNNPACK is faster than TensorFlow for this trunk: on one CPU, for depthwise convolutions.

    It loses for plain ones (docs/scale.md), and several devices share a batch only with the plain function.
    """
    if trunk.replicas > 1 or accelerators():
        return False
    return any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in trunk.model.layers)


def relative_difference(received: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference as a fraction of the spread of the expected values.

    Args:
        received: `(b, ...)`.
        expected: `(b, ...)`.
    """
    received, expected = np.asarray(received, np.float64), np.asarray(expected, np.float64)
    spread = max(float(expected.std()), float(np.finfo(np.float32).tiny))
    difference = float(np.max(np.abs(received - expected))) / spread
    return difference if np.isfinite(difference) else float("inf")

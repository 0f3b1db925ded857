"""Extractors: ways to compute the outputs of a frozen trunk."""

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
    """A trunk that is traced once. All extractors use this trace.

    Args:
        model: Frozen functional model from raw inputs (one tensor or a dict) to one tensor.
        batch_size: Number of rows per call. It is fixed, so that results do not depend on the grouping.
        strategy: Strategy of the run, or None for one device.
        threads: Number of threads of extractors that do not use TensorFlow, or None for all cores.

    Attributes:
        call: Function from a batch of inputs to a batch of outputs.
        replicas: Number of devices of this process that may share a batch.
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
        """Traced function of one batch."""
        inputs = {x.name: ((self.batch_size, *x.shape[1:]), x.dtype) for x in self.model.inputs}
        return extraction.graph_of(self.call, inputs)


@EXTRACTORS.register("exact")
def exact(trunk: Trunk):
    """Computes the trunk as a training step does, on all devices. It is the reference for the others."""
    if trunk.replicas > 1 and trunk.batch_size % trunk.replicas == 0:
        return extraction.by_replicas(trunk.call, trunk.strategy, trunk.batch_size)
    return extraction.by_graph(trunk.graph)


@EXTRACTORS.register("folded")
def folded(trunk: Trunk):
    """Uses a graph in which the variables are constants."""
    return extraction.by_constants(trunk.graph)


@EXTRACTORS.register("tflite")
def tflite(trunk: Trunk):
    """Uses TensorFlow Lite with XNNPACK on CPU, which is faster for depthwise convolutions."""
    return extraction.by_tflite(trunk.graph, trunk.threads)


def suits_xnnpack(trunk: Trunk) -> bool:
    """Whether XNNPACK is faster than TensorFlow for this trunk.

    It is faster for depthwise convolutions on one CPU and slower for other convolutions (docs/scale.md).
    Several devices can share a batch only with `exact`.
    """
    if trunk.replicas > 1 or accelerators():
        return False
    return any(isinstance(layer, keras.layers.DepthwiseConv2D) for layer in trunk.model.layers)


def relative_difference(received: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference as a fraction of the spread of the expected values.

    Args:
        received: Values to check, `(b, ...)`.
        expected: Expected values, `(b, ...)`.
    """
    received, expected = np.asarray(received, np.float64), np.asarray(expected, np.float64)
    spread = max(float(expected.std()), float(np.finfo(np.float32).tiny))
    difference = float(np.max(np.abs(received - expected))) / spread
    return difference if np.isfinite(difference) else float("inf")

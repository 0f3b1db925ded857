"""Ways to compute a frozen trunk's outputs, from the plain function to XNNPACK."""

import contextlib
import os
import warnings

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backend import compat
from tlkeras.models.cuts.folding import Folded
from tlkeras.registry import Registry

EXTRACTORS: Registry = Registry("extractor")


class Trunk:
    """A trunk traced once; every extractor starts from the same trace.

    Args:
        model: A functional model, raw inputs -> one tensor, all of it frozen.
        batch_size: Rows per call; fixed, so that results do not depend on how rows are grouped.
        strategy: The run's strategy.
        threads: Threads of extractors that do not use TensorFlow's; None is all cores.
    """

    def __init__(self, model: keras.Model, batch_size: int, strategy=None, threads: int | None = None):
        self.model = model
        self.batch_size = batch_size
        self.strategy = strategy or tf.distribute.get_strategy()
        self.threads = threads or os.cpu_count() or 1
        self.input_shape = (batch_size, *model.input_shape[1:])
        self.call = Folded(model)
        self._concrete = None
        self._frozen = None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one row of outputs."""
        return tuple(self.model.output_shape[1:])

    @property
    def replicas(self) -> int:
        """Devices of this process that may share a batch."""
        workers = getattr(self.strategy.extended, "_num_workers", 1)
        return max(1, self.strategy.num_replicas_in_sync // max(workers, 1))

    def concrete(self):
        """Returns the traced function of one batch."""
        if self._concrete is None:
            call = tf.function(lambda x: self.call(x), autograph=False)
            self._concrete = call.get_concrete_function(tf.TensorSpec(self.input_shape, tf.float32))
        return self._concrete

    def frozen(self):
        """Returns the traced function with its variables folded into the graph as constants."""
        if self._frozen is None:
            self._frozen = compat.with_folded_variables(self.concrete())
        return self._frozen


@EXTRACTORS.register("exact")
def exact(trunk: Trunk):
    """What the model computes in a step, on every device of this process; the others are compared with it."""
    if trunk.replicas > 1 and trunk.batch_size % trunk.replicas == 0:
        return _on_all_replicas(trunk)
    function = trunk.concrete()
    return lambda x: function(tf.convert_to_tensor(x)).numpy()


@EXTRACTORS.register("folded")
def folded(trunk: Trunk):
    """Variables folded into the graph as constants."""
    function = trunk.frozen()
    return lambda x: function(tf.convert_to_tensor(x))[0].numpy()


@EXTRACTORS.register("tflite")
def tflite(trunk: Trunk):
    """TensorFlow Lite with XNNPACK on CPU: faster for depthwise convolutions, after a second to convert."""
    with _quiet():
        # given the model as well, the converter would save it first, which takes four fifths of the time
        content = tf.lite.TFLiteConverter.from_concrete_functions([trunk.concrete()]).convert()
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=trunk.threads)
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def extract(x):
        interpreter.set_tensor(source, np.asarray(x))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return extract


def suits_xnnpack(trunk: Trunk) -> bool:
    """Whether XNNPACK is faster than TensorFlow for this trunk: on one CPU, for depthwise convolutions.

    It loses for plain ones (docs/scale.md), and several devices share a batch only with the plain function.
    """
    if trunk.replicas > 1 or "TPU" in type(trunk.strategy).__name__ or tf.config.list_logical_devices("GPU"):
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


def _on_all_replicas(trunk: Trunk):
    share = trunk.batch_size // trunk.replicas
    strategy = trunk.strategy

    @tf.function(autograph=False)
    def step(x):
        return strategy.run(trunk.call, args=(x,))

    def extract(x):
        parts = strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(
                x[context.replica_id_in_sync_group % trunk.replicas * share :][:share]
            )
        )
        outputs = strategy.experimental_local_results(step(parts))
        return np.concatenate([output.numpy() for output in outputs])

    return extract


@contextlib.contextmanager
def _quiet():
    """Keeps the converter's and the interpreter's notices, which no user can act on, off the terminal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = tf.get_logger().level
        tf.get_logger().setLevel("ERROR")
        try:
            yield
        finally:
            tf.get_logger().setLevel(level)

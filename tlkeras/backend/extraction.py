"""Ways to compute a function of batches without training: plain graph, constant weights, XNNPACK, replicas.

Each returns a function from a batch (an array or a dict of arrays by name) to an array `(batch, ...)`.
"""

import contextlib
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tlkeras.backend import compat

Extract = Callable[[np.ndarray | dict[str, np.ndarray]], np.ndarray]


def graph_of(function: Callable, inputs: Mapping[str, tuple]):
    """Returns the concrete function of a batch of fixed shape.

    Args:
        function: Function of the only input, or of a dict of inputs.
        inputs: Shape (with the batch axis) and dtype of each input by name.
    """
    specs = {name: tf.TensorSpec(*spec) for name, spec in inputs.items()}
    batch = specs if len(specs) > 1 else next(iter(specs.values()))
    return tf.function(lambda x: function(x), autograph=False).get_concrete_function(batch)


def by_graph(graph) -> Extract:
    """Returns an extractor that runs a concrete function."""
    return lambda x: graph(tf.nest.map_structure(tf.convert_to_tensor, x)).numpy()


def by_constants(graph) -> Extract:
    """Returns an extractor that runs a concrete function with its variables as constants."""
    frozen = compat.with_folded_variables(graph)
    return lambda x: frozen(*map(tf.convert_to_tensor, tf.nest.flatten(x)))[0].numpy()


def by_tflite(graph, threads: int) -> Extract:
    """Returns an extractor that runs a concrete function in TensorFlow Lite, with XNNPACK on CPU."""
    with _quiet():
        # the model is not passed, because the converter would first save it, which takes 80 % of the time
        content = tf.lite.TFLiteConverter.from_concrete_functions([graph]).convert()
        interpreter = tf.lite.Interpreter(model_content=content, num_threads=threads)
        interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    target = interpreter.get_output_details()[0]["index"]

    def extract(x):
        interpreter.set_tensor(source, np.asarray(x))
        interpreter.invoke()
        return interpreter.get_tensor(target)

    return extract


def by_replicas(function: Callable, strategy: tf.distribute.Strategy, batch_size: int) -> Extract:
    """Returns an extractor that divides each batch evenly among the replicas of this process.

    Args:
        function: Function from a batch of inputs to features.
        strategy: Strategy of the run.
        batch_size: Number of rows per batch, a multiple of the number of replicas.
    """
    replicas = local_replicas(strategy)
    share = batch_size // replicas

    @tf.function(autograph=False)
    def step(x):
        return strategy.run(function, args=(x,))

    def divided(x):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.convert_to_tensor(
                x[context.replica_id_in_sync_group % replicas * share :][:share]
            )
        )

    def extract(x):
        parts = {name: divided(part) for name, part in x.items()} if isinstance(x, dict) else divided(x)
        outputs = strategy.experimental_local_results(step(parts))
        return np.concatenate([output.numpy() for output in outputs])

    return extract


def local_replicas(strategy: tf.distribute.Strategy | None) -> int:
    """Returns the number of devices of this process that share a batch. It is one without a strategy."""
    if strategy is None or strategy.num_replicas_in_sync == 1:
        return 1
    return len(strategy.extended.worker_devices)


@contextlib.contextmanager
def _quiet():
    """Suppresses the notices of the converter and the interpreter, which do not help users."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        level = tf.get_logger().level
        tf.get_logger().setLevel("ERROR")
        try:
            yield
        finally:
            tf.get_logger().setLevel(level)

"""Functions traced into graphs, so that Python does not run each time."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Callable) -> Callable:
    """Returns a function of tensors that is traced once and then runs as a graph.

    Inputs of another shape are traced once more, and shapes that vary share that trace.

    Args:
        function: A function of tensors, whose Python code depends on shapes alone.
    """
    return tf.function(function, autograph=False, reduce_retracing=True)


def traced_in_a_replica(strategy: tf.distribute.Strategy, function: Callable[[], Any]) -> Any:
    """Returns what a function returns while it is traced inside a replica; nothing is computed.

    Inside a replica the gradients of mirrored variables are known, as they are in a training step.

    Args:
        strategy: The strategy under which the function's variables were made.
        function: A function without arguments. Tensors that it returns have a shape and no value.
    """
    found = []
    tf.function(lambda: strategy.run(lambda: found.append(function()))).get_concrete_function()
    return found[0]

"""Functions that are traced into graphs, so that their Python code runs only once."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def traced(function: Callable) -> Callable:
    """Returns a function of tensors that is traced once and then runs as a graph.

    Inputs of another shape cause a second trace, which serves all further shapes.

    Args:
        function: Function of tensors, whose Python code depends only on shapes.
    """
    return tf.function(function, autograph=False, reduce_retracing=True)


def traced_in_a_replica(strategy: tf.distribute.Strategy, function: Callable[[], Any]) -> Any:
    """Returns the result of a function that is traced inside a replica. Nothing is computed.

    Inside a replica the gradients of mirrored variables exist, as in a training step.

    Args:
        strategy: Strategy in whose scope the variables of the function were made.
        function: Function without arguments. Tensors in its result have a shape and no value.
    """
    found = []
    trace = tf.function(lambda: strategy.run(lambda: found.append(function())), autograph=False)
    trace.get_concrete_function()
    return found[0]

"""Converts a model to ONNX, with workarounds for gaps in tf2onnx."""

import contextlib
import logging
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tlkeras.backend import compat
from tlkeras.export.served_model import ServedModel

OPSET = 17


def onnx_model(served: ServedModel):
    """Returns the model as an `onnx.ModelProto` that takes any number of rows."""
    import tf2onnx

    function = _with_constants(served)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    model, _ = tf2onnx.convert.from_function(
        function,
        input_signature=function.input_signature,
        opset=OPSET,
        custom_op_handlers={"Erfc": (_one_minus_erf, [])},  # used by GELU
    )
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


def _one_minus_erf(graph, node, name, args) -> None:
    """Replaces erfc(x), for which ONNX has no operation, by 1 - erf(x)."""
    (source,), (target,) = node.input, node.output
    shape, dtype = graph.get_shape(target), graph.get_dtype(target)
    one = graph.make_const(f"{name}/one", np.array(1, np.float32)).output[0]
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [source], shapes=[shape], dtypes=[dtype]).output[0]
    graph.make_node("Sub", [one, erf], outputs=[target], name=name, shapes=[shape], dtypes=[dtype])


def _with_constants(served: ServedModel):
    """Returns the model as a `tf.function` that captures nothing.

    Keras keeps some constants outside the graph, such as the mean of a Normalization layer. tf2onnx would
    turn them into inputs.
    """
    function = served.function()
    with _nested_functions_inlined():
        frozen = compat.with_folded_variables(function.get_concrete_function())

    @tf.function(input_signature=function.input_signature)
    def answer(*inputs):
        return {served.output_name: frozen(*inputs)[0]}

    return answer


@contextlib.contextmanager
def _nested_functions_inlined() -> Iterator[None]:
    """Traces `tf.function`s inside a function as plain Python.

    Keras wraps each grouped convolution into a function that XLA compiles. ONNX has no operation for a call
    of such a function.
    """
    before = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(before)

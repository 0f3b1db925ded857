"""Folding of BatchNormalization layers into the convolutions before them."""

import inspect

import keras
from keras import ops

from tlkeras.backend import batch_statistics
from tlkeras.models.cuts.graph import nodes_in_order, replay


class Folded:
    """A functional model whose fixed BatchNormalizations are folded into the convolutions before them.

    A BatchNormalization with moving statistics scales and shifts each channel. Keras computes this in
    separate passes over the feature map. A scaled kernel and a bias give the same (Jacob et al. 2018,
    "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section
    3.2), and TensorFlow fuses them with the convolution and the activation. The kernel is scaled in every
    call, which is cheap, so that it is always current and all variables get gradients. The rounding error is
    as large as that of the plain model (1e-4 of the spread of the outputs for a deep network at 96 pixels,
    1e-6 for a shallow one).

    Only float32 layers with channels last are folded. In training, a BatchNormalization that trains
    normalises by the statistics of the batch, which TensorFlow computes in one operation.

    Args:
        model: Functional model with one output, or with a dict of outputs.

    Example:
        >>> trunk = Folded(model.trunk())
        >>> features = trunk(images)
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._pairs = _pairs(model)

    def __call__(self, x, training: bool | None = False, instead=lambda operation: operation):
        """Returns the output, or the dict of outputs, for `x`.

        Args:
            x: Inputs of the model.
            training: Is passed to every layer, as in a call of the model.
            instead: Function that returns the replacement of an operation that is not folded.
        """
        folding = {conv: bn for conv, bn in self._pairs.items() if not (training and bn.trainable)}
        folded_away = set(folding.values())

        def replaced(operation):
            if operation in folding:
                return lambda inputs, **_: _convolve(operation, folding[operation], inputs)
            if operation in folded_away:
                return lambda inputs, **_: inputs
            called = instead(operation)
            if training and called is operation and _normalises_by_batch(operation):
                return lambda inputs, **_: batch_statistics.normalized(operation, inputs)
            if training is not None and _takes_training(operation):
                return lambda *args, **kwargs: called(*args, **{**kwargs, "training": training})
            return called

        return replay(self.model, x, replaced)


def _convolve(conv, bn, x):
    scale = ops.rsqrt(bn.moving_variance + bn.epsilon)
    if bn.scale:
        scale = scale * bn.gamma
    shift = -bn.moving_mean * scale
    if bn.center:
        shift = shift + bn.beta
    if conv.use_bias:
        shift = shift + conv.bias * scale
    settings = {"strides": conv.strides, "padding": conv.padding, "dilation_rate": conv.dilation_rate}
    if isinstance(conv, keras.layers.DepthwiseConv2D):
        kernel = conv.kernel * ops.reshape(scale, (1, 1, -1, conv.depth_multiplier))
        x = ops.depthwise_conv(x, kernel, **settings)
    elif isinstance(conv, keras.layers.SeparableConv2D):
        x = ops.separable_conv(x, conv.depthwise_kernel, conv.pointwise_kernel * scale, **settings)
    else:
        x = ops.conv(x, conv.kernel * scale, **settings)
    return ops.add(x, shift)  # TensorFlow fuses it with the convolution, and `x + shift` not


def _pairs(model: keras.Model) -> dict:
    """Returns `{convolution: BatchNormalization}` for convolutions that only the latter reads."""
    nodes = [node for node in nodes_in_order(model) if not node.is_input]
    readers, calls, outputs = {}, {}, {id(tensor) for tensor in model.outputs}
    for node in nodes:
        calls[node.operation] = calls.get(node.operation, 0) + 1
        for tensor in node.input_tensors:
            readers.setdefault(id(tensor), []).append(node.operation)
    pairs = {}
    for node in nodes:
        conv, output = node.operation, node.output_tensors[0]
        if not _is_plain_convolution(conv) or id(output) in outputs:
            continue
        following = readers[id(output)]
        once = len(following) == 1 and calls[conv] == calls[following[0]] == 1
        if once and _is_plain_batch_norm(following[0]):
            pairs[conv] = following[0]
    return pairs


def _normalises_by_batch(operation) -> bool:
    return (
        isinstance(operation, keras.layers.BatchNormalization)
        and operation.trainable
        and batch_statistics.has_one_operation(operation)
    )


def _is_plain_convolution(layer) -> bool:
    return (
        type(layer) in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and layer.compute_dtype == "float32"
    )


def _is_plain_batch_norm(layer) -> bool:
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.compute_dtype == "float32"
    )


def _takes_training(operation) -> bool:
    return (
        isinstance(operation, keras.layers.Layer)
        and "training" in inspect.signature(operation.call).parameters
    )

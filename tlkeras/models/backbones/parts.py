"""What the built families share: Keras, which is imported when a backbone is built, and parts of networks."""

from typing import TYPE_CHECKING

import numpy as np

from tlkeras.lazy import LateModule

if TYPE_CHECKING:
    import keras
    import keras.layers as layers
    import keras.ops as ops
else:
    keras, layers, ops = LateModule("keras"), LateModule("keras.layers"), LateModule("keras.ops")


def small_normal():
    """Returns the usual initializer of transformers: a normal distribution with standard deviation 0.02.

    Values further than two standard deviations from 0 are drawn again.
    """
    return keras.initializers.TruncatedNormal(stddev=0.02)


def drop_path(x, last_rate: float, index: int, count: int, name: str):
    """Returns a branch that is dropped at random in training, for whole examples.

    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3. The probability grows
    linearly from 0 in the first block to `last_rate` in the last one.

    Args:
        x: Symbolic output of the branch, `(batch, ...)`.
        last_rate: Probability in the last block, in 0..1.
        index: Index of the block.
        count: Number of blocks.
        name: Name of the layer. No layer is added if the probability is 0.
    """
    rate = last_rate * index / max(count - 1, 1)
    if not rate:
        return x
    return layers.Dropout(rate, noise_shape=(None, *[1] * (len(x.shape) - 1)), name=name)(x)


def channel_scale(x, start: float, name: str):
    """Returns a branch whose channels are multiplied by learned factors (Touvron et al. 2021, LayerScale).

    Args:
        x: Tokens `(b, t, c)`, or a map `(b, height, width, c)`.
        start: First value of the factors.
        name: Name of the layer, a convolution of one place, which is five times as fast as EinsumDense.
    """
    layer = layers.DepthwiseConv1D if len(x.shape) == 3 else layers.DepthwiseConv2D
    initial = keras.initializers.Constant(start)
    return layer(1, depthwise_initializer=initial, use_bias=False, name=name)(x)


def constant(x, values: np.ndarray):
    """Returns values as a tensor in the graph of `x`, because layers take only such tensors.

    Args:
        x: Symbolic tensor with four axes or more.
        values: Integers, which become int32, or floats, which get the dtype of `float_of`.
    """
    dtype = "int32" if values.dtype.kind == "i" else float_of(x)
    return ops.sum(ops.zeros_like(x[:1, 0, 0, 0], dtype=dtype)) + values.astype(dtype)


def in_float32(x):
    """Returns a tensor in the dtype of `float_of`."""
    return ops.cast(x, float_of(x))


def float_of(x) -> str:
    """Returns the dtype of a tensor, or float32 for half precision."""
    return keras.backend.result_type(x.dtype, "float32")

"""BatchNormalization with the statistics of the batch, in one operation of TensorFlow."""

import keras
import tensorflow as tf
from keras import ops

LEAST_EPSILON = 1e-5  # that of cuDNN


def has_one_operation(layer: keras.layers.Layer) -> bool:
    """Whether `normalized` can take the place of a call of the layer in training mode."""
    return (
        type(layer) is keras.layers.BatchNormalization
        and layer.axis in (-1, 3)
        and layer.variable_dtype == "float32"
        and layer.input_spec.ndim == 4
        and layer.epsilon >= LEAST_EPSILON
        and not layer.synchronized
        and not getattr(layer, "renorm", False)  # Keras 3.12 and 3.13 have no such attribute
    )


def normalized(layer: keras.layers.BatchNormalization, x):
    """Returns what the layer returns in training mode, and moves its statistics in the same way.

    Keras computes the moments, the normalisation and their gradients by about twenty operations, each of
    which passes over the whole map. TensorFlow's fused operation takes a fraction of that time.

    Args:
        layer: Layer for which `has_one_operation` holds.
        x: Maps `(b, height, width, channels)`.

    Returns:
        Normalised maps like `x`, in the layer's compute dtype.
    """
    x = ops.cast(x, "float32")
    gamma = ops.convert_to_tensor(layer.gamma) if layer.scale else tf.ones(x.shape[-1])
    beta = ops.convert_to_tensor(layer.beta) if layer.center else tf.zeros(x.shape[-1])
    y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=x, scale=gamma, offset=beta, mean=[], variance=[], epsilon=layer.epsilon, is_training=True
    )
    # The operation returns the unbiased variance, and Keras' moving variance is the biased one.
    rows = ops.cast(tf.size(x, out_type=tf.int64) // x.shape[-1], "float32")
    biased = variance * ops.maximum(rows - 1, 1) / rows
    for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, biased)):
        moving.assign(moving * layer.momentum + value * (1 - layer.momentum))
    return ops.cast(y, layer.compute_dtype)

"""From the backbone's output to one feature vector per example."""

import keras
from keras import layers

from tlkeras.config import NeckConfig


def build_neck(config: NeckConfig, backbone_output) -> keras.Model:
    """Returns pooling, the optional bottleneck and dropout as a functional model.

    Its last layer is called `features`, so that feature vectors can be found by name in a saved model.

    Args:
        config: Pooling, bottleneck and dropout.
        backbone_output: Symbolic output of the backbone, `(b, h, w, c)` or `(b, d)`.

    Returns:
        A model with outputs of shape `(b, features)`.
    """
    inputs = keras.Input(backbone_output.shape[1:], dtype=backbone_output.dtype, name="neck_inputs")
    x = _pool(inputs, config.pooling) if len(inputs.shape) > 2 else inputs
    if config.bottleneck is not None:
        x = layers.Dense(config.bottleneck, use_bias=False, name="neck_bottleneck")(x)
        x = layers.BatchNormalization(name="neck_bottleneck_bn")(x)
        x = layers.ReLU(name="neck_bottleneck_relu")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="neck_dropout")(x)
    return keras.Model(inputs, layers.Identity(name="features")(x), name="neck")


def _pool(x, pooling: str):
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name="neck_avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name="neck_max_pool")(x)
    if pooling == "flatten":
        return layers.Flatten(name="neck_flatten")(x)
    return layers.Concatenate(name="neck_pool")([_pool(x, "avg"), _pool(x, "max")])

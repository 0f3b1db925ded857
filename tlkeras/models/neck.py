"""From the backbone's output to one feature vector per example."""

import keras
from keras import layers

from tlkeras.config import BranchConfig, NeckConfig
from tlkeras.models.heads import BN_MOMENTUM, known_activation


def build_neck(config: NeckConfig, backbone_output) -> keras.Model:
    """Returns pooling, private branches, the optional bottleneck and dropout as a functional model.

    Its last layer is called `features`, so that feature vectors can be found by name in a saved model.

    Args:
        config: Pooling, branches, bottleneck and dropout.
        backbone_output: Symbolic output of the backbone, `(b, h, w, c)` or `(b, d)`.

    Returns:
        A model with outputs of shape `(b, features)`.
    """
    inputs = keras.Input(backbone_output.shape[1:], dtype=backbone_output.dtype, name="neck_inputs")
    shared = not config.branches or any(branch.pooling is None for branch in config.branches)
    x = pool(inputs, config.pooling) if shared else None
    if config.branches:
        x = _branches(config, inputs, x)
    if config.bottleneck is not None:
        x = layers.Dense(config.bottleneck, use_bias=False, name="neck_bottleneck")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name="neck_bottleneck_bn")(x)
        x = layers.ReLU(name="neck_bottleneck_relu")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="neck_dropout")(x)
    return keras.Model(inputs, layers.Identity(name="features")(x), name="neck")


def _branches(config: NeckConfig, inputs, pooled):
    """Returns the joined outputs of the private branches, each with layers of its own."""
    outputs = []
    for i, branch in enumerate(config.branches, start=1):
        name = f"neck_branch_{i}"
        x = pooled if branch.pooling is None else pool(inputs, branch.pooling, name)
        outputs.append(dense_layers(branch, x, name))
    if len(outputs) == 1:
        return outputs[0]
    join = {"concat": layers.Concatenate, "average": layers.Average}[config.join]
    return join(name=f"neck_{config.join}")(outputs)


def dense_layers(config: BranchConfig, x, name: str):
    """Returns the output of a branch's dense layers.

    Args:
        config: Their widths, activation and dropout.
        x: Symbolic `(b, d)`.
        name: Stands before the names of the layers.
    """
    activation = known_activation(config.activation)
    for i, width in enumerate(config.units, start=1):
        x = layers.Dense(width, name=f"{name}_dense_{i}")(x)
        x = layers.Activation(activation, name=f"{name}_activation_{i}")(x)
        if config.dropout:
            x = layers.Dropout(config.dropout, name=f"{name}_dropout_{i}")(x)
    return x


def pool(x, pooling: str, name: str = "neck"):
    """Returns one vector `(b, d)` per example for maps `(b, h, w, c)`; vectors as they are.

    Args:
        x: Symbolic maps or vectors.
        pooling: As in `NeckConfig`.
        name: Stands before the names of the layers.
    """
    if len(x.shape) <= 2:
        return x
    if pooling == "avg":
        return layers.GlobalAveragePooling2D(name=f"{name}_avg_pool")(x)
    if pooling == "max":
        return layers.GlobalMaxPooling2D(name=f"{name}_max_pool")(x)
    if pooling == "flatten":
        return layers.Flatten(name=f"{name}_flatten")(x)
    return layers.Concatenate(name=f"{name}_pool")([pool(x, "avg", name), pool(x, "max", name)])

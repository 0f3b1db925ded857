"""The neck, which converts the output of the backbone to one feature vector per example."""

import keras
from keras import layers, ops

from tlkeras.config import BranchConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.models.heads import BN_MOMENTUM, known_activation


def build_neck(config: NeckConfig, backbone_output, prefix: int = 0, padded: bool = False) -> keras.Model:
    """Returns pooling, private branches, the optional bottleneck and dropout as a functional model.

    The name of its last layer is `features`. A saved model finds its feature vectors by this name.

    Args:
        config: Config with pooling, branches, bottleneck and dropout.
        backbone_output: Symbolic output of the backbone, `(b, h, w, c)`, `(b, t, c)` or `(b, d)`.
        prefix: Number of tokens before those of the patches.
        padded: Whether tokens that are zero are padding.

    Returns:
        A model with outputs of shape `(b, features)`.
    """
    inputs = keras.Input(backbone_output.shape[1:], dtype=backbone_output.dtype, name="neck_inputs")
    shared = not config.branches or any(branch.pooling is None for branch in config.branches)
    x = pool(inputs, config.pooling, prefix=prefix, padded=padded) if shared else None
    if config.branches:
        x = _branches(config, inputs, x, prefix, padded)
    if config.bottleneck is not None:
        x = layers.Dense(config.bottleneck, use_bias=False, name="neck_bottleneck")(x)
        x = layers.BatchNormalization(momentum=BN_MOMENTUM, name="neck_bottleneck_bn")(x)
        x = layers.ReLU(name="neck_bottleneck_relu")(x)
    if config.dropout:
        x = layers.Dropout(config.dropout, name="neck_dropout")(x)
    return keras.Model(inputs, layers.Identity(name="features")(x), name="neck")


def _branches(config: NeckConfig, inputs, pooled, prefix: int, padded: bool):
    """Returns the joined outputs of the private branches."""
    outputs = []
    for i, branch in enumerate(config.branches, start=1):
        name = f"neck_branch_{i}"
        x = pooled if branch.pooling is None else pool(inputs, branch.pooling, name, prefix, padded)
        outputs.append(dense_layers(branch, x, name))
    if len(outputs) == 1:
        return outputs[0]
    join = {"concat": layers.Concatenate, "average": layers.Average}[config.join]
    return join(name=f"neck_{config.join}")(outputs)


def dense_layers(config: BranchConfig, x, name: str):
    """Returns the output of a branch's dense layers.

    Args:
        config: Config with widths, activation and dropout.
        x: Symbolic input `(b, d)`.
        name: Prefix of the names of the layers.
    """
    activation = known_activation(config.activation)
    for i, width in enumerate(config.units, start=1):
        x = layers.Dense(width, name=f"{name}_dense_{i}")(x)
        x = layers.Activation(activation, name=f"{name}_activation_{i}")(x)
        if config.dropout:
            x = layers.Dropout(config.dropout, name=f"{name}_dropout_{i}")(x)
    return x


def pool(x, pooling: str | None, name: str = "neck", prefix: int = 0, padded: bool = False):
    """Returns one vector `(b, d)` per example from maps `(b, h, w, c)` or tokens `(b, t, c)`. Vectors are
    returned unchanged.

    Args:
        x: Symbolic maps, tokens or vectors.
        pooling: Pooling of `NeckConfig`. None means `avg`.
        name: Prefix of the names of the layers.
        prefix: Number of tokens before those of the patches. The first of them is the class token.
        padded: Whether `x` are tokens of texts. Tokens that are zero are padding and are ignored, and the
            first token is the class token.

    Raises:
        UserError: The pooling needs a class token, and there is none.
    """
    if len(x.shape) <= 2:
        return x
    if pooling == "flatten":
        return layers.Flatten(name=f"{name}_flatten")(x)
    if pooling in ("both", "class_and_avg"):
        parts = ("avg", "max") if pooling == "both" else ("class", "avg")
        parts = [pool(x, part, name, prefix, padded) for part in parts]
        return layers.Concatenate(name=f"{name}_pool")(parts)
    if pooling == "class":
        if len(x.shape) != 3 or not (prefix or padded):
            raise UserError(f"The backbone has no class token. Received: neck.pooling={pooling!r}")
        x = layers.Cropping1D((0, x.shape[1] - 1), name=f"{name}_class_token")(x)
        return layers.Flatten(name=f"{name}_class")(x)
    if prefix:
        x = layers.Cropping1D((prefix, 0), name=f"{name}_{pooling or 'avg'}_patches")(x)
    # separate operations, because names must be unique in the whole model
    mask = {"mask": _tokens_of(x)} if padded else {}
    if pooling == "gem":
        return _generalised_mean(x, name, mask)
    if padded and pooling == "max":
        x = ops.where(
            mask.pop("mask")[..., None], x, -6e4
        )  # below all values, and within the range of float16
    return _POOLINGS[pooling or "avg", len(x.shape)](name=f"{name}_{pooling or 'avg'}_pool")(x, **mask)


def _tokens_of(x):
    """Returns which tokens count, bool `(b, t)`: those that are not zero, or all where a text is missing."""
    zero = ops.all(ops.equal(x, 0), axis=-1)
    return ops.logical_or(ops.logical_not(zero), ops.all(zero, axis=-1, keepdims=True))


_POOLINGS = {
    ("avg", 4): layers.GlobalAveragePooling2D,
    ("max", 4): layers.GlobalMaxPooling2D,
    ("avg", 3): layers.GlobalAveragePooling1D,
    ("max", 3): layers.GlobalMaxPooling1D,
}


def _generalised_mean(x, name: str, mask: dict):
    """Returns the cube root of the mean of the cubes of positive values, in float32."""
    x = layers.ReLU(dtype="float32", name=f"{name}_gem_positive")(x)
    x = layers.Multiply(dtype="float32", name=f"{name}_gem_cube")([x, x, x])
    x = _POOLINGS["avg", len(x.shape)](dtype="float32", name=f"{name}_gem_pool")(x, **mask)
    return ops.power(x + 1e-6, 1 / 3)

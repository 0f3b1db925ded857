"""Small networks for vectors and for experiments in seconds, which train from random weights."""

from __future__ import annotations

from tlkeras.models.backbones.parts import keras, layers
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family


def mlp(
    input_shape: tuple[int, ...],
    units: tuple[int, ...] = (128, 128),
    activation: str = "relu",
    dropout: float = 0.0,
    batch_norm: bool = False,
) -> keras.Model:
    """Returns dense layers on vectors.

    Args:
        input_shape: Shape of one vector, `(d,)`.
        units: Widths of the layers, each of which is a block.
        activation: Activation after each layer.
        dropout: Dropout rate after each layer.
        batch_norm: Whether each layer is normalised before its activation.
    """
    x = inputs = keras.Input(input_shape, name="backbone_inputs")
    for i, width in enumerate(units, start=1):
        x = layers.Dense(width, name=f"dense_{i}")(x)
        x = _finish(x, f"dense_{i}", activation, dropout, batch_norm)
    return keras.Model(inputs, x, name="mlp")


def small_cnn(
    input_shape: tuple[int, ...],
    filters: tuple[int, ...] = (32, 64, 128),
    dropout: float = 0.0,
    batch_norm: bool = True,
    activation: str = "relu",
    pool: str = "max",
) -> keras.Model:
    """Returns 3x3 convolutions, each but the last followed by pooling.

    BatchNormalization has momentum 0.9, so that its statistics settle within a hundred steps. With a smooth
    activation and average pooling, the gradient is continuous in the weights, and rounding errors stay small.
    With ReLU and max pooling, a difference in the last bit can change the gradient.

    Args:
        input_shape: Shape of one image, `(height, width, channels)`.
        filters: Filters of the convolutions, each of which is a block.
        dropout: Dropout rate after each block.
        batch_norm: Whether convolutions are followed by BatchNormalization.
        activation: Activation after each convolution.
        pool: Pooling over 2x2 pixels: `max` or `avg`.

    Raises:
        ValueError: `pool` has another value.
    """
    kinds = {"max": layers.MaxPooling2D, "avg": layers.AveragePooling2D}
    if pool not in kinds:
        raise ValueError(f"pool must be 'max' or 'avg'. Received: pool={pool!r}")
    x = inputs = keras.Input(input_shape, name="backbone_inputs")
    for i, width in enumerate(filters, start=1):
        x = layers.Conv2D(width, 3, padding="same", use_bias=not batch_norm, name=f"conv_{i}")(x)
        x = _finish(x, f"conv_{i}", activation, dropout, batch_norm)
        if i < len(filters):
            x = kinds[pool](2, name=f"conv_{i}_pool")(x)
    return keras.Model(inputs, x, name="small_cnn")


def dann_digits(input_shape: tuple[int, ...]) -> keras.Model:
    """Returns the feature extractor for digits of Ganin et al. (2016), figure 4a.

    Its label predictor is the head `mlp` with units (100, 100) and `neck.pooling="flatten"`.

    Args:
        input_shape: Shape of one image, `(28, 28, 3)` in the paper, which gives 768 features.
    """
    x = inputs = keras.Input(input_shape, name="backbone_inputs")
    for i, width in enumerate((32, 48), start=1):
        x = layers.Conv2D(width, 5, name=f"conv_{i}")(x)
        # max pooling and ReLU commute, and ReLU after the pooling has a quarter of the work
        x = layers.MaxPooling2D(name=f"conv_{i}_pool")(x)
        x = layers.ReLU(name=f"conv_{i}_relu")(x)
    return keras.Model(inputs, x, name="dann_digits")


def none(input_shape: tuple[int, ...]) -> keras.Model:
    """Returns a backbone that returns its inputs unchanged, as features."""
    inputs = keras.Input(input_shape, name="backbone_inputs")
    return keras.Model(inputs, layers.Identity(name="none")(inputs), name="none")


def _finish(x, name, activation, dropout, batch_norm):
    if batch_norm:
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    x = layers.Activation(activation, name=f"{name}_{activation}")(x)
    return layers.Dropout(dropout, name=f"{name}_dropout")(x) if dropout else x


# builder, family, input, default size, parameters and millions of multiply-adds (None where they depend on
# the data), Grad-CAM layer, blocks with default options
_ROWS = (
    (mlp, Family("identity"), "vector", 0, None, None, "", "dense_1..2"),
    (none, Family("identity", (), min_size=1), "any", 0, 0, 0, "", ""),
    (small_cnn, Family("unit", min_size=4), "image", 32, 93_920, 10, "conv_3_relu", "conv_1..3"),
    (dann_digits, Family("unit", min_size=16), "image", 28, 40_880, 4, "conv_2", "conv_1..2"),
)

for _builder, _family, _input, _size, _parameters, _macs, *_layers in _ROWS:
    _name = _builder.__name__
    _facts = (_name, _builder, _family, _size, _parameters, *_layers)
    BACKBONES.add(_name, Backbone(*_facts, input=_input, million_macs=_macs))

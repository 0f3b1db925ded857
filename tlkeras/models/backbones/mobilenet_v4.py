"""The convolutional networks of MobileNetV4.

Source: Qin et al. 2024, "MobileNetV4: Universal Models for the Mobile Ecosystem", tables 11 to 13.
"""

from __future__ import annotations

import re

from tlkeras.models.backbones.parts import drop_path, keras, layers
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family

# Blocks of the stages, each `KIND FILTERS`: `conv3/2 32` is a convolution of 3 x 3 places with stride 2, and
# `fused3/2*4` is one to 4 times the channels, then one to the filters. `uib5|5/2*3` is a universal inverted
# bottleneck: a depthwise convolution before the expansion (to 3 times the channels), and one after it, with
# the stride. `-` means that there is no such convolution.
_SMALL = (
    "conv3/2 32, conv1 32",
    "conv3/2 96, conv1 64",
    "uib5|5/2*3 96, uib-|3*2 96, uib-|3*2 96, uib-|3*2 96, uib-|3*2 96, uib3|-*4 96",
    "uib3|3/2*6 128, uib5|5*4 128, uib-|5*4 128, uib-|5*3 128, uib-|3*4 128, uib-|3*4 128",
)
_MEDIUM = (
    "fused3/2*4 48",
    "uib3|5/2*4 80, uib3|3*2 80",
    "uib3|5/2*6 160, uib3|3*4 160, uib3|3*4 160, uib3|5*4 160, uib3|3*4 160, uib3|-*4 160, uib-|-*2 160, "
    "uib3|-*4 160",
    "uib5|5/2*6 256, uib5|5*4 256, uib3|5*4 256, uib3|5*4 256, uib-|-*4 256, uib3|-*4 256, uib3|5*2 256, "
    "uib5|5*4 256, uib-|-*4 256, uib-|-*4 256, uib5|-*2 256",
)
_LARGE = (
    "fused3/2*4 48",
    "uib3|5/2*4 96, uib3|3*4 96",
    "uib3|5/2*4 192, uib3|3*4 192, uib3|3*4 192, uib3|3*4 192, uib3|5*4 192, uib5|3*4 192, uib5|3*4 192, "
    "uib5|3*4 192, uib5|3*4 192, uib5|3*4 192, uib3|-*4 192",
    "uib5|5/2*4 512, uib5|5*4 512, uib5|5*4 512, uib5|5*4 512, uib5|-*4 512, uib5|3*4 512, uib5|-*4 512, "
    "uib5|-*4 512, uib5|3*4 512, uib5|5*4 512, uib5|-*4 512, uib5|-*4 512, uib5|-*4 512",
)

# name, stages, filters of the stem, default size, parameters, millions of multiply-adds, top-1 (timm)
_ROWS = (
    ("mobilenetv4_conv_small", _SMALL, 32, 224, 2_518_112, 185, 73.8),
    ("mobilenetv4_conv_medium", _MEDIUM, 32, 256, 8_502_416, 1_079, 79.9),
    ("mobilenetv4_conv_large", _LARGE, 24, 384, 31_459_416, 6_375, 83.0),
)
_BLOCK = re.compile(r"(conv|fused|uib)([\d-])(?:\|([\d-]))?(?:/(\d))?(?:\*(\d))? (\d+)")


def mobilenet_v4(
    input_shape: tuple[int, int, int],
    *,
    stages: tuple[str, ...],
    stem: int,
    width: float = 1.0,
    pooled: bool = True,
    drop_path_rate: float = 0.0,
    name: str = "mobilenet_v4",
) -> keras.Model:
    """Returns the network from normalised images to features.

    Args:
        input_shape: Shape of an image, `(height, width, 3)`.
        stages: Blocks of each stage, such as `"fused3/2*4 48"`.
        stem: Number of filters of the first convolution.
        width: Factor of the numbers of filters, except for the head. Below 1, the stem also keeps its number.
            Products are rounded to multiples of 8, as in timm.
        pooled: Whether the network ends in the mean over all positions and a layer of 1280 units, as in the
            original.
        drop_path_rate: Stochastic depth of the last block (Huang et al. 2016). Earlier blocks have
            proportionally less.
        name: Name of the model.

    Returns:
        A functional model. Its outputs have the shape `(batch, 1280)`, or `(batch, height / 32, width / 32,
        960)` without `pooled`.
    """
    inputs = keras.Input(input_shape, name="backbone_inputs")
    x = _conv(inputs, _scaled(stem, max(width, 1.0)), 3, 2, "stem")
    plan = [(i, j, row) for i, blocks in enumerate(stages) for j, row in enumerate(_BLOCK.findall(blocks))]
    for count, (stage, i, (kind, first, second, stride, expansion, filters)) in enumerate(plan):
        block, filters = f"stage_{stage}_block_{i}", _scaled(int(filters), width)
        stride, hidden = int(stride or 1), x.shape[-1] * int(expansion or 1)
        if kind == "conv":
            x = _conv(x, filters, int(first), stride, block)
        elif kind == "fused":
            x = _conv(x, hidden, int(first), stride, f"{block}_expand")
            x = _conv(x, filters, 1, 1, f"{block}_project", activation=None)
        else:
            drop = (drop_path_rate, count, len(plan))
            x = _bottleneck(x, block, (first, second), stride, hidden, filters, drop)
    x = _conv(x, _scaled(960, width), 1, 1, "top")
    if pooled:
        x = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
        x = layers.Flatten(name="head_flatten")(_conv(x, 1280, 1, 1, "head"))
    return keras.Model(inputs, x, name=name)


def _bottleneck(x, name: str, kernels: tuple[str, str], stride: int, hidden: int, filters: int, drop):
    """Returns the feature maps after a universal inverted bottleneck (section 4 of the paper)."""
    shortcut, (first, second) = x, kernels
    if first != "-":
        early = stride if second == "-" else 1
        x = _depthwise(x, int(first), early, f"{name}_start", activation=None)
    x = _conv(x, hidden, 1, 1, f"{name}_expand")
    if second != "-":
        x = _depthwise(x, int(second), stride, f"{name}_middle")
    x = _conv(x, filters, 1, 1, f"{name}_project", activation=None)
    if shortcut.shape[-1] != filters or stride != 1:
        return x
    x = drop_path(x, *drop, name=f"{name}_drop")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _scaled(filters: int, width: float) -> int:
    if width == 1:
        return filters
    rounded = max(8, int(filters * width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * filters * width else rounded + 8


def _conv(x, filters: int, kernel: int, stride: int, name: str, activation: str | None = "relu"):
    x, padding = _padded(x, kernel, stride, name)
    options = {"padding": padding, "use_bias": False, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, kernel, stride, **options, name=f"{name}_conv")(x)
    return _normalised(x, name, activation)


def _depthwise(x, kernel: int, stride: int, name: str, activation: str | None = "relu"):
    x, padding = _padded(x, kernel, stride, name)
    options = {"padding": padding, "use_bias": False, "depthwise_initializer": "he_normal"}
    x = layers.DepthwiseConv2D(kernel, stride, **options, name=f"{name}_conv")(x)
    return _normalised(x, name, activation)


def _padded(x, kernel: int, stride: int, name: str):
    """Pads before a strided convolution by the same number of pixels on all sides, as torch does.

    Keras' `same` depends on the size of the input.
    """
    if stride == 1:
        return x, "same"
    return layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x), "valid"


def _normalised(x, name: str, activation: str | None):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return x if activation is None else layers.Activation(activation, name=f"{name}_activation")(x)


_STAGE = r"^blocks\.(\d+)\.(\d+)\."
_HERE = r"stage_\1_block_\2_"

# Names of tensors in timm. transformers uses the networks of timm, in its `TimmWrapperModel`.
_TENSOR_NAMES = (
    (r"^conv_stem\.", "stem_conv."),
    (r"^bn1\.", "stem_bn."),
    (r"^blocks\.4\.0\.conv\.", "top_conv."),
    (r"^blocks\.4\.0\.bn1\.", "top_bn."),
    (_STAGE + r"conv\.", _HERE + "conv."),
    (_STAGE + r"bn1\.", _HERE + "bn1."),
    (_STAGE + r"conv_exp\.", _HERE + "expand_conv."),
    (_STAGE + r"conv_pwl\.", _HERE + "project_conv."),
    (_STAGE + r"bn2\.", _HERE + "project_bn."),
    (_STAGE + r"dw_start\.(conv|bn)\.", _HERE + r"start_\3."),
    (_STAGE + r"pw_exp\.(conv|bn)\.", _HERE + r"expand_\3."),
    (_STAGE + r"dw_mid\.(conv|bn)\.", _HERE + r"middle_\3."),
    (_STAGE + r"pw_proj\.(conv|bn)\.", _HERE + r"project_\3."),
    (r"^conv_head\.", "head_conv."),
    (r"^norm_head\.", "head_bn."),
)


def _fit_tensors(tensors, model: keras.Model) -> None:
    """Renames the first normalisation of a block after the convolution before it.

    Tensors of a head are removed if the model has no head.
    """
    names = {layer.name for layer in model.layers}
    for name in [n for n in tensors if "_bn1." in n]:
        block, role = name.split("_bn1.")
        part = "bn" if f"{block}_conv" in names else "expand_bn"
        tensors.put(f"{block}_{part}.{role}", tensors[name], name)
        tensors.take(name)
    if "head_conv" not in names:
        for name in [n for n in tensors if n.startswith("head_")]:
            tensors.take(name)


_FAMILY = Family("torch", tensor_names=_TENSOR_NAMES, fit_tensors=_fit_tensors)

for _name, _stages, _stem, _size, _parameters, _macs, _top1 in _ROWS:
    _blocks = [f"stage_{i}_block_0..{row.count(',')}" for i, row in enumerate(_stages)]
    _facts = (_FAMILY, _size, _parameters, "top_activation", " ".join(["stem", *_blocks, "top"]))
    _arguments = {"stages": _stages, "stem": _stem, "name": _name}
    _more = {"arguments": _arguments, "licence": "Apache-2.0"}
    _more |= {"million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(_name, mobilenet_v4, *_facts, **_more))

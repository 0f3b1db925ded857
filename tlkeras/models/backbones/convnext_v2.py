"""ConvNeXt V2, and the ConvNeXts of DINOv3.

Sources: Woo et al. 2023, "ConvNeXt V2: Co-designing and Scaling ConvNets with Masked Autoencoders"; Liu et
al. 2022, "A ConvNet for the 2020s", whose blocks have a factor per channel instead of the response
normalisation; Siméoni et al. 2025, "DINOv3".
"""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras.models.backbones.parts import channel_scale, drop_path, keras, layers, ops, small_normal
from tlkeras.models.backbones.registry import BACKBONES, LOW_RATE, Backbone, Family

# licence, further arguments
_V2 = ("CC-BY-NC-4.0", {})
_DINOV3 = ("DINOv3 License", {"response_norm": False})

# name, one of these, number of blocks in each of the four stages, channels of the first stage, parameters,
# millions of multiply-adds, top-1 (timm's table, at 288 pixels; from nano on pretrained on ImageNet-22k)
_ROWS = (
    ("convnextv2_atto", _V2, (2, 2, 6, 2), 40, 3_387_400, 549, 77.8),
    ("convnextv2_femto", _V2, (2, 2, 6, 2), 48, 4_848_240, 782, 79.3),
    ("convnextv2_pico", _V2, (2, 2, 6, 2), 64, 8_553_280, 1_370, 81.1),
    ("convnextv2_nano", _V2, (2, 2, 8, 2), 80, 14_982_800, 2_450, 82.7),
    ("convnextv2_tiny", _V2, (3, 3, 9, 3), 96, 27_866_496, 4_463, 84.4),
    ("convnextv2_base", _V2, (3, 3, 27, 3), 128, 87_692_800, 15_372, 87.0),
    ("dinov3_convnext_tiny", _DINOV3, (3, 3, 9, 3), 96, 27_820_128, 4_457, None),
    ("dinov3_convnext_small", _DINOV3, (3, 3, 27, 3), 96, 49_454_688, 8_686, None),
    ("dinov3_convnext_base", _DINOV3, (3, 3, 27, 3), 128, 87_566_464, 15_358, None),
)


def convnext_v2(
    input_shape: tuple[int, int, int],
    *,
    depths: Sequence[int],
    width: int,
    pooled: bool = True,
    response_norm: bool = True,
    drop_path_rate: float = 0.0,
    name: str = "convnext_v2",
) -> keras.Model:
    """Returns the network from normalised images to features.

    Args:
        input_shape: Shape of an image, `(height, width, 3)`.
        depths: Number of blocks in each stage.
        width: Number of channels of the first stage. Each further stage has twice as many as the one before.
        pooled: Whether the network ends in the mean over all positions and a LayerNormalization, as in the
            original.
        response_norm: Whether each block has a global response normalisation, as in version 2. Otherwise each
            branch ends in a learned factor per channel.
        drop_path_rate: Stochastic depth of the last block (Huang et al. 2016); earlier blocks have
            proportionally less.
        name: Name of the model.

    Returns:
        A functional model. Its outputs have the shape `(batch, channels)`, or
        `(batch, height / 32, width / 32, channels)` without `pooled`. `channels` is the number of channels of
        the last stage.
    """
    inputs = keras.Input(input_shape, name="backbone_inputs")
    x = layers.Conv2D(width, 4, 4, kernel_initializer=small_normal(), name="stem_conv")(inputs)
    x = _norm(x, "stem_norm")
    count = 0
    for stage, depth in enumerate(depths):
        if stage:
            x = _norm(x, f"stage_{stage}_downsample_norm")
            conv = {"kernel_initializer": small_normal(), "name": f"stage_{stage}_downsample_conv"}
            x = layers.Conv2D(width * 2**stage, 2, 2, **conv)(x)
        for i in range(depth):
            x = _block(x, f"stage_{stage}_block_{i}", response_norm, (drop_path_rate, count, sum(depths)))
            count += 1
    if pooled:
        x = _norm(layers.GlobalAveragePooling2D(name="pool")(x), "norm")
    return keras.Model(inputs, x, name=name)


def _block(x, name: str, response_norm: bool, drop: tuple[float, int, int]):
    shortcut, width = x, x.shape[-1]
    conv = {"padding": "same", "depthwise_initializer": small_normal(), "name": f"{name}_dwconv"}
    x = layers.DepthwiseConv2D(7, **conv)(x)
    x = _norm(x, f"{name}_norm")
    x = layers.Dense(4 * width, kernel_initializer=small_normal(), name=f"{name}_expand")(x)
    x = layers.Activation("gelu", name=f"{name}_activation")(x)
    if response_norm:
        x = _response_norm(x, name)
    x = layers.Dense(width, kernel_initializer=small_normal(), name=f"{name}_project")(x)
    if not response_norm:
        x = channel_scale(x, 1e-6, f"{name}_scale")
    x = drop_path(x, *drop, name=f"{name}_drop")
    return layers.Add(name=f"{name}_add")([x, shortcut])


def _response_norm(x, name: str):
    """Returns feature maps after global response normalisation (section 3.3 of the paper).

    Each channel is multiplied by its L2 norm over all positions, divided by the mean of these norms over the
    channels. Then a learned factor and a learned offset are applied, which are 0 at first, and the input is
    added.
    """
    length = ops.sum(ops.square(ops.cast(x, "float32")), axis=(1, 2), keepdims=True)
    length = ops.sqrt(length + 1e-12)  # the constant gives a finite gradient if a channel is 0 everywhere
    relative = length / (ops.mean(length, axis=-1, keepdims=True) + 1e-6)
    scaled = layers.Multiply(name=f"{name}_grn_scaled")([x, ops.cast(relative, x.dtype)])
    # a kernel of one pixel: a factor and an offset for each channel, 17 times as fast as EinsumDense
    scaled = layers.DepthwiseConv2D(1, depthwise_initializer="zeros", name=f"{name}_grn")(scaled)
    return layers.Add(name=f"{name}_grn_add")([x, scaled])


def _norm(x, name: str):
    return layers.LayerNormalization(epsilon=1e-6, name=name)(x)


_TIMM = r"^stages\.(\d+)\."
_HF = r"^(?:\w+\.)?encoder\.stages\.(\d+)\."
_HF_DINOV3 = r"^(?:model\.)?stages\.(\d+)\."
_META = r"^stages\.(\d+)\.(\d+)\."
_BLOCK = r"stage_\1_block_\2_"

# Names of tensors in timm, in transformers, and in Meta's files.
_TENSOR_NAMES = (
    (r"^stem\.0\.|^(?:\w+\.)?embeddings\.patch_embeddings\.", "stem_conv."),
    (r"^stem\.1\.|^(?:\w+\.)?embeddings\.layernorm\.", "stem_norm."),
    (_TIMM + r"downsample\.0\.", r"stage_\1_downsample_norm."),
    (_TIMM + r"downsample\.1\.", r"stage_\1_downsample_conv."),
    (_TIMM + r"blocks\.(\d+)\.conv_dw\.", _BLOCK + "dwconv."),
    (_TIMM + r"blocks\.(\d+)\.norm\.", _BLOCK + "norm."),
    (_TIMM + r"blocks\.(\d+)\.mlp\.fc1\.", _BLOCK + "expand."),
    (_TIMM + r"blocks\.(\d+)\.mlp\.grn\.", _BLOCK + "grn."),
    (_TIMM + r"blocks\.(\d+)\.mlp\.fc2\.", _BLOCK + "project."),
    (_TIMM + r"blocks\.(\d+)\.gamma$", _BLOCK + "scale.weight"),
    (_HF + r"downsampling_layer\.0\.", r"stage_\1_downsample_norm."),
    (_HF + r"downsampling_layer\.1\.", r"stage_\1_downsample_conv."),
    (_HF + r"layers\.(\d+)\.dwconv\.", _BLOCK + "dwconv."),
    (_HF + r"layers\.(\d+)\.layernorm\.", _BLOCK + "norm."),
    (_HF + r"layers\.(\d+)\.pwconv1\.", _BLOCK + "expand."),
    (_HF + r"layers\.(\d+)\.grn\.", _BLOCK + "grn."),
    (_HF + r"layers\.(\d+)\.pwconv2\.", _BLOCK + "project."),
    (_HF_DINOV3.replace(r"(\d+)", "0") + r"downsample_layers\.0\.", "stem_conv."),
    (_HF_DINOV3.replace(r"(\d+)", "0") + r"downsample_layers\.1\.", "stem_norm."),
    (_HF_DINOV3 + r"downsample_layers\.0\.", r"stage_\1_downsample_norm."),
    (_HF_DINOV3 + r"downsample_layers\.1\.", r"stage_\1_downsample_conv."),
    (_HF_DINOV3 + r"layers\.(\d+)\.depthwise_conv\.", _BLOCK + "dwconv."),
    (_HF_DINOV3 + r"layers\.(\d+)\.layer_norm\.", _BLOCK + "norm."),
    (_HF_DINOV3 + r"layers\.(\d+)\.pointwise_conv1\.", _BLOCK + "expand."),
    (_HF_DINOV3 + r"layers\.(\d+)\.pointwise_conv2\.", _BLOCK + "project."),
    (_HF_DINOV3 + r"layers\.(\d+)\.gamma$", _BLOCK + "scale.weight"),
    (r"^downsample_layers\.0\.0\.", "stem_conv."),
    (r"^downsample_layers\.0\.1\.", "stem_norm."),
    (r"^downsample_layers\.(\d+)\.0\.", r"stage_\1_downsample_norm."),
    (r"^downsample_layers\.(\d+)\.1\.", r"stage_\1_downsample_conv."),
    (_META + r"(dwconv|norm)\.", _BLOCK + r"\3."),
    (_META + r"pwconv1\.", _BLOCK + "expand."),
    (_META + r"grn\.gamma$", _BLOCK + "grn.weight"),
    (_META + r"grn\.beta$", _BLOCK + "grn.bias"),
    (_META + r"pwconv2\.", _BLOCK + "project."),
    (_META + r"gamma$", _BLOCK + "scale.weight"),
    (r"^norm\.", "norm."),
    (r"^(?:model\.)?layer_norm\.", "norm."),
    (r"^head\.norm\.|^(?:\w+\.)?layernorm\.", "norm."),
)


def _fit_tensors(tensors, model: keras.Model) -> None:
    """Removes the tensors of the last normalisation if the model has no such layer."""
    if all(layer.name != "norm" for layer in model.layers):
        for role in ("weight", "bias"):
            tensors.take(f"norm.{role}")


_FAMILY = Family(
    "torch",
    ((r"^(stem|stage_\d+_(?:block_\d+|downsample))_", r"\1"),),
    tensor_names=_TENSOR_NAMES,
    fit_tensors=_fit_tensors,
    stated_epsilon="norm",
    rate=LOW_RATE,
)

for _name, (_licence, _options), _depths, _width, _parameters, _macs, _top1 in _ROWS:
    _blocks = ["stem"]
    for _stage, _depth in enumerate(_depths):
        _blocks += [f"stage_{_stage}_downsample"] * bool(_stage) + [f"stage_{_stage}_block_0..{_depth - 1}"]
    _last = f"stage_3_block_{_depths[-1] - 1}_add"
    _facts = (_name, convnext_v2, _FAMILY, 224, _parameters, _last, " ".join(_blocks))
    _arguments = {"depths": _depths, "width": _width, "name": _name} | _options
    _more = {"licence": _licence, "million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(*_facts, arguments=_arguments, **_more))

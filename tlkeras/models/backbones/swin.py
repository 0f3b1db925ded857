"""Swin and Swin V2.

Sources: Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows"; Liu et
al. 2022, "Swin Transformer V2: Scaling Up Capacity and Resolution".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.models.backbones.parts import (
    constant,
    drop_path,
    float_of,
    in_float32,
    keras,
    layers,
    ops,
    small_normal,
)
from tlkeras.models.backbones.registry import BACKBONES, LOW_RATE, Backbone, Family
from tlkeras.models.backbones.transformer import mlp
from tlkeras.models.weights.positions import resized_relative_positions

_PATCH = 4

# name, version, blocks of the four stages, channels and heads of the first, window, default size,
# parameters, millions of multiply-adds, top-1 (timm's table: trained on ImageNet-1k alone)
_ROWS = (
    ("swin_tiny", 1, (2, 2, 6, 2), 96, 3, 7, 224, 27_519_354, 4_490, 81.4),
    ("swin_small", 1, (2, 2, 18, 2), 96, 3, 7, 224, 48_837_258, 8_740, 83.2),
    ("swin_base", 1, (2, 2, 18, 2), 128, 4, 7, 224, 86_743_224, 15_430, 83.6),
    ("swinv2_tiny", 2, (2, 2, 6, 2), 96, 3, 8, 256, 27_578_154, 5_939, 81.8),
    ("swinv2_small", 2, (2, 2, 18, 2), 96, 3, 8, 256, 48_959_418, 11_545, 83.9),
    ("swinv2_base", 2, (2, 2, 18, 2), 128, 4, 8, 256, 86_893_816, 20_324, 84.3),
)


def swin(
    input_shape: tuple[int, int, int],
    *,
    depths: Sequence[int],
    width: int,
    heads: int,
    window: int,
    version: int = 1,
    trained_windows: Sequence[int] = (),
    drop_path_rate: float = 0.0,
    name: str = "swin",
) -> keras.Model:
    """Returns the network from normalised images to feature maps.

    Args:
        input_shape: Shape of an image, `(height, width, 3)`. The windows must fill the feature maps of each
            stage. A map that is smaller than a window is one window.
        depths: Number of blocks of each stage.
        width: Number of channels of the first stage. Each further stage has twice as many as the one before.
        heads: Number of attention heads of the first stage. Each further stage has twice as many.
        window: Side of a window, in positions of the feature map.
        version: Version of the architecture, 1 or 2. Version 2 normalises after attention and MLP instead of
            before them, uses cosine attention, and computes relative positions with a small network from
            log-spaced distances (Swin V2, section 3).
        trained_windows: Side of the windows in each stage with which the weights were pretrained, if they
            were fine-tuned with other windows (only version 2). By default, it is the side in this network.
        drop_path_rate: Stochastic depth of the last block (Huang et al. 2016). Earlier blocks have
            proportionally less.
        name: Name of the model.

    Returns:
        A functional model. Its outputs have the shape `(batch, height / 32, width / 32, channels)` for four
        stages.

    Raises:
        ValueError: The windows do not fill the feature maps.
    """
    _check_sides(input_shape[:2], len(depths), window)
    inputs = keras.Input(input_shape, name="backbone_inputs")
    stem = {"kernel_initializer": small_normal(), "name": "stem_conv"}
    x = _norm(layers.Conv2D(width, _PATCH, _PATCH, **stem)(inputs), "stem_norm")
    count = 0
    for stage, depth in enumerate(depths):
        if stage:
            x = _merge(x, version, f"stage_{stage}_downsample")
        trained = (trained_windows or [0] * len(depths))[stage]
        for i in range(depth):
            shift = window // 2 if i % 2 else 0
            attention = _Attention(x.shape[1:3], heads * 2**stage, window, shift, version, trained)
            drop = (drop_path_rate, count, sum(depths))
            x = _block(x, attention, version, drop, f"stage_{stage}_block_{i}")
            count += 1
    return keras.Model(inputs, _norm(x, "norm"), name=name)


def _check_sides(sides: Sequence[int], stages: int, window: int) -> None:
    step = _PATCH * 2 ** (stages - 1)
    for side in sides:
        grids = [side // _PATCH // 2**stage for stage in range(stages)]
        if side % step or any(grid > window and grid % window for grid in grids):
            raise ValueError(
                f"windows of {window} x {window} positions do not fill the feature maps of this image. "
                f"Choose sides that are multiples of {step * window} pixels, or another option `window`. "
                f"Received: image_size={list(sides)}"
            )


def _block(x, attention: _Attention, version: int, drop, name: str):
    """Returns the feature maps after one block: attention within windows, then an MLP, each added to its
    input.
    """
    hidden, width = 4 * x.shape[-1], x.shape[-1]
    branches = (
        lambda y: attention(y, f"{name}_attention"),
        lambda y: mlp(y, hidden, width, "gelu", f"{name}_mlp"),
    )
    for part, branch in enumerate(branches, 1):
        norm = f"{name}_norm_{part}"
        y = branch(_norm(x, norm)) if version == 1 else _norm(branch(x), norm)
        y = drop_path(y, *drop, name=f"{name}_drop_{part}")
        x = layers.Add(name=f"{name}_add_{part}")([x, y])
    return x


def _merge(x, version: int, name: str):
    """Returns feature maps of half the side with twice the channels: squares of 2 x 2 positions become
    one.
    """
    height, long, channels = x.shape[1:]
    x = layers.Reshape((height // 2, 2, long // 2, 2, channels), name=f"{name}_squares")(x)
    x = layers.Permute((1, 3, 4, 2, 5), name=f"{name}_order")(x)
    x = layers.Reshape((height // 2, long // 2, 4 * channels), name=f"{name}_merged")(x)
    options = {"use_bias": False, "kernel_initializer": small_normal(), "name": f"{name}_reduction"}
    reduce = layers.Dense(2 * channels, **options)
    return reduce(_norm(x, f"{name}_norm")) if version == 1 else _norm(reduce(x), f"{name}_norm")


class _Attention:
    """Attention between the positions of a window (section 3.2), for feature maps `(b, height, width, c)`.

    Args:
        grid: Height and width of the feature maps.
        heads: Number of heads.
        window: Side of the windows.
        shift: Number of positions by which the maps are rolled before they are cut. It is 0 along a side with
            one window.
        version: Version of the architecture, 1 or 2.
        trained: Side of the windows with which the weights were pretrained. 0 means that of these windows.
    """

    def __init__(self, grid, heads: int, window: int, shift: int, version: int, trained: int):
        self.grid, self.heads, self.version, self.trained = grid, heads, version, trained
        high, wide = grid
        self.window = min(window, high), min(window, wide)
        self.shift = tuple(shift if side > window else 0 for side in grid)

    def __call__(self, x, name: str):
        width = x.shape[-1]
        x = self._cut(x, name)
        shape = (x.shape[1], self.heads, x.shape[2], width // self.heads)

        def projected(part, bias: str | None = "nh"):
            options = {"bias_axes": bias, "kernel_initializer": small_normal(), "name": f"{name}_{part}"}
            return layers.EinsumDense("bgtd,dnh->bgnth", shape, **options)(x)

        query, value = projected("query"), projected("value")
        key = projected("key", "nh" if self.version == 1 else None)
        scores = self._positions(x, name) + self._similarity(x, query, key, name)
        if any(self.shift):
            scores = scores + self._mask(x)
        weights = ops.cast(ops.softmax(scores), value.dtype)
        y = ops.einsum("bgnts,bgnsh->bgtnh", weights, value)
        options = {"bias_axes": "d", "kernel_initializer": small_normal(), "name": f"{name}_output"}
        y = layers.EinsumDense("bgtnh,nhd->bgtd", x.shape[1:], **options)(y)
        return self._put_together(y, name)

    def _cut(self, x, name: str):
        """Returns the places of each window: `(b, windows, places, c)`."""
        if any(self.shift):
            x = ops.roll(x, [-places for places in self.shift], axis=(1, 2))
        (rows, columns), (high, wide) = self._counts, self.window
        x = layers.Reshape((rows, high, columns, wide, x.shape[-1]), name=f"{name}_strips")(x)
        x = layers.Permute((1, 3, 2, 4, 5), name=f"{name}_tiles")(x)
        return layers.Reshape((rows * columns, high * wide, x.shape[-1]), name=f"{name}_windows")(x)

    def _put_together(self, x, name: str):
        (rows, columns), (high, wide) = self._counts, self.window
        x = layers.Reshape((rows, columns, high, wide, x.shape[-1]), name=f"{name}_tiles_back")(x)
        x = layers.Permute((1, 3, 2, 4, 5), name=f"{name}_strips_back")(x)
        x = layers.Reshape((*self.grid, x.shape[-1]), name=f"{name}_map")(x)
        return ops.roll(x, list(self.shift), axis=(1, 2)) if any(self.shift) else x

    @property
    def _counts(self) -> tuple[int, int]:
        return self.grid[0] // self.window[0], self.grid[1] // self.window[1]

    def _similarity(self, x, query, key, name: str):
        """Returns attention scores in float32 or a more precise dtype, `(b, windows, heads, places,
        places)`.
        """
        if self.version == 1:
            return in_float32(ops.einsum("bgnth,bgnsh->bgnts", query * query.shape[-1] ** -0.5, key))
        query, key = (ops.normalize(in_float32(part), axis=-1) for part in (query, key))
        scale = _learned(x, (self.heads,), f"{name}_scale", keras.initializers.Constant(math.log(10)))
        scale = ops.exp(ops.minimum(in_float32(scale), math.log(100)))
        cosines = ops.einsum("bgnth,bgnsh->bgnts", query, key)
        return cosines * ops.reshape(scale, (1, 1, self.heads, 1, 1))

    def _positions(self, x, name: str):
        """Returns the contribution of the relative position of two places to their score, `(1, 1, heads,
        places, places)`.
        """
        (high, wide), places = self.window, math.prod(self.window)
        distances = (2 * high - 1) * (2 * wide - 1)
        if self.version == 1:
            table = _learned(x, (self.heads, distances), f"{name}_positions", small_normal())
        else:
            y = constant(x, _log_distances(self.window, self.trained))
            y = layers.Dense(512, "relu", kernel_initializer=small_normal(), name=f"{name}_positions_1")(y)
            last = {"use_bias": False, "kernel_initializer": small_normal(), "name": f"{name}_positions_2"}
            table = ops.transpose(layers.Dense(self.heads, **last)(y), (0, 2, 1))
        table = ops.take(in_float32(table), _indices(self.window).ravel(), axis=2)
        table = ops.reshape(table, (1, 1, self.heads, places, places))
        return table if self.version == 1 else 16 * ops.sigmoid(table)

    def _mask(self, x):
        """Returns -100 for two places of a window that are on opposite sides of the map, `(1, w, 1, t, t)`,
        else 0.
        """
        rows, columns = (
            (np.arange(side) >= side - window).astype(int) + (np.arange(side) >= side - shift) * bool(shift)
            for side, window, shift in zip(self.grid, self.window, self.shift, strict=True)
        )
        (m, n), (high, wide) = self._counts, self.window
        regions = (3 * rows[:, None] + columns).reshape(m, high, n, wide).transpose(0, 2, 1, 3)
        regions = constant(x, regions.reshape(1, m * n, 1, high * wide))
        apart = ops.not_equal(ops.expand_dims(regions, -1), ops.expand_dims(regions, -2))
        return ops.cast(apart, float_of(x)) * -100.0


def _indices(window: tuple[int, int]) -> np.ndarray:
    """Returns the index of the relative position of two places, `(places, places)`."""
    high, wide = window
    places = np.stack(np.divmod(np.arange(high * wide), wide), -1)
    distance = places[:, None] - places[None] + (high - 1, wide - 1)
    return distance[..., 0] * (2 * wide - 1) + distance[..., 1]


def _log_distances(window: tuple[int, int], trained: int) -> np.ndarray:
    """Returns distances of two places on a logarithmic scale, `(1, distances, 2)` (Swin V2, equation 4)."""
    axes = [8 * np.arange(1 - side, side) / max((trained or side) - 1, 1) for side in window]
    distances = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(1, -1, 2)
    return np.sign(distances) * np.log2(np.abs(distances) + 1) / math.log2(8)


def _learned(x, shape: tuple[int, ...], name: str, initializer):
    """Returns a weight as a tensor of the graph of `x`, `(1, *shape)`."""
    axes = "nr"[: len(shape)]
    options = {"output_shape": shape, "kernel_initializer": initializer, "name": name}
    return layers.EinsumDense(f"bo,o{axes}->b{axes}", **options)(constant(x, np.ones((1, 1))))


def _norm(x, name: str):
    return layers.LayerNormalization(epsilon=1e-5, name=name)(x)


# What a tensor is called in timm and by Microsoft, and in transformers.
_ATTENTION = r"(?:attn|attention\.self)\."
_NETWORK = _ATTENTION + r"(?:cpb_mlp|continuous_position_bias_mlp)\."
_IN_BLOCK = r"^(?:(?:\w+\.)?encoder\.)?layers\.(\d+)\.blocks\.(\d+)\."
_BLOCK = r"stage_\1_block_\2_"
_TENSOR_NAMES = (
    (r"^patch_embed\.proj\.|^(?:\w+\.)?embeddings\.patch_embeddings\.projection\.", "stem_conv."),
    (r"^patch_embed\.norm\.|^(?:\w+\.)?embeddings\.norm\.", "stem_norm."),
    (r"^(?:(?:\w+\.)?encoder\.)?layers\.(\d+)\.downsample\.", r"stage_\1_downsample_"),
    (_IN_BLOCK + r"attn\.qkv\.", _BLOCK + "attention_qkv."),
    (_IN_BLOCK + r"attn\.q_bias$", _BLOCK + "attention_query.bias"),
    (_IN_BLOCK + r"attn\.v_bias$", _BLOCK + "attention_value.bias"),
    (_IN_BLOCK + r"attention\.self\.(query|key|value)\.", _BLOCK + r"attention_\3."),
    (_IN_BLOCK + r"(?:attn\.proj|attention\.output\.dense)\.", _BLOCK + "attention_output."),
    (_IN_BLOCK + _ATTENTION + "relative_position_bias_table$", _BLOCK + "attention_positions.weight"),
    (_IN_BLOCK + _ATTENTION + "logit_scale$", _BLOCK + "attention_scale.weight"),
    (_IN_BLOCK + _NETWORK + r"0\.", _BLOCK + "attention_positions_1."),
    (_IN_BLOCK + _NETWORK + r"2\.", _BLOCK + "attention_positions_2."),
    (_IN_BLOCK + r"(?:norm1|layernorm_before)\.", _BLOCK + "norm_1."),
    (_IN_BLOCK + r"(?:norm2|layernorm_after)\.", _BLOCK + "norm_2."),
    (_IN_BLOCK + r"(?:mlp\.fc1|intermediate\.dense)\.", _BLOCK + "mlp_1."),
    (_IN_BLOCK + r"(?:mlp\.fc2|output\.dense)\.", _BLOCK + "mlp_2."),
    (r"^norm\.|^(?:\w+\.)?layernorm\.", "norm."),
)


def _fit_tensors(tensors, model: keras.Model) -> None:
    """Splits fused projections, resizes tables of positions, and assigns a merging layer to the stage after
    it.
    """
    for name in [n for n in tensors if "_attention_qkv." in n]:
        tensors.split(name, [name.replace("qkv", part) for part in ("query", "key", "value")])
    if "stage_0_downsample_reduction.weight" in tensors:  # not so in timm
        for name in sorted((n for n in tensors if "_downsample_" in n), reverse=True):
            stage, rest = name.removeprefix("stage_").split("_", 1)
            tensors.put(f"stage_{int(stage) + 1}_{rest}", tensors[name], name)
            tensors.take(name)
    for name in [n for n in tensors if n.endswith("_attention_positions.weight")]:
        layer = name.removesuffix(".weight")
        windows = {x.name: x for x in model.layers}.get(f"{layer.removesuffix('positions')}tiles_back")
        if windows is not None:
            high, wide = windows.output.shape[3:5]
            tensors.put(name, resized_relative_positions(tensors[name], high, wide), name)


_FAMILY = Family(
    "torch",
    ((r"^(stem|stage_\d+_(?:block_\d+|downsample))_", r"\1"),),
    min_size=16,
    tensor_names=_TENSOR_NAMES,
    fit_tensors=_fit_tensors,
    stated_epsilon=r"stage_\d+_block_\d+_norm_\d|norm",
    rate=LOW_RATE,
)

for _name, _version, _depths, _width, _heads, _window, _size, *_more in _ROWS:
    _parameters, _macs, _top1 = _more
    _blocks = ["stem"]
    for _stage, _depth in enumerate(_depths):
        _blocks += [f"stage_{_stage}_downsample"] * bool(_stage) + [f"stage_{_stage}_block_0..{_depth - 1}"]
    _facts: tuple[Any, ...] = (_name, swin, _FAMILY, _size, _parameters, "norm", " ".join(_blocks))
    _arguments = {"depths": _depths, "width": _width, "heads": _heads, "window": _window, "version": _version}
    _arguments["name"] = _name
    _more = {"licence": "MIT", "million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(*_facts, arguments=_arguments, **_more))

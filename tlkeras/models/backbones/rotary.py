"""Rotary positions of patches (Su et al. 2021, "RoFormer"; for images as in DINOv3, Siméoni et al. 2025)."""

import math

import numpy as np

from tlkeras.models.backbones.parts import constant, ops


class Rotation:
    """Turns the queries and keys of patches by angles that follow from their places.

    Both coordinates of a patch's centre are in -1..1. Each coordinate turns half of the pairs of numbers. The
    pair `i` is turned by `2 pi coordinate / base ** (4 i / size)`, where `size` is the length of a head's
    vector, a multiple of 4. Tokens before those of the patches are not turned.

    Args:
        rows: Number of patches from top to bottom.
        columns: Number of patches from left to right.
        prefix: Number of tokens before those of the patches.
        base: Base of the angles, 100 in DINOv3.
    """

    def __init__(self, rows: int, columns: int, prefix: int, base: float):
        axes = [2 * (np.arange(count) + 0.5) / count - 1 for count in (rows, columns)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        self._places = np.concatenate([np.zeros((prefix, 2)), places])
        self._base = base

    def __call__(self, *parts):
        """Returns the turned queries or keys, each `(b, t, heads, size)`."""
        size = parts[0].shape[-1]
        frequencies = 2 * math.pi * self._base ** -np.arange(0, 1, 4 / size)
        places = constant(parts[0], self._places[:, :, None])
        angles = ops.reshape(places * frequencies.astype(places.dtype), (len(self._places), 1, size // 2))
        cosine, sine = ops.cos(angles), ops.sin(angles)
        return [self._turned(x, ops.cast(cosine, x.dtype), ops.cast(sine, x.dtype)) for x in parts]

    def _turned(self, x, cosine, sine):
        first, second = ops.split(x, 2, axis=-1)
        return ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


def has_rotary_positions(backbone) -> bool:
    """Whether a vision transformer turns queries and keys by the places of its patches.

    Its keys then have no bias.
    """
    keys = (layer for layer in backbone.layers if layer.name == "block_0_attention_key")
    return any(layer.bias is None for layer in keys)

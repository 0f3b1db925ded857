"""Synthetic data: small, fast to make, with known domain shifts."""

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.rows import Rows, row_ids
from tlkeras.data.sources.base import Source, Table, options
from tlkeras.errors import UserError, unknown

SHAPES = ("circle", "square", "triangle", "cross", "ring", "diamond", "bars", "frame")

_DEFAULTS = {
    "shapes": {"n": 512, "size": 32, "classes": 4, "shift": 0.0, "noise": 0.05},
    "blobs": {"n": 300, "sd": 0.2, "shift": (0.0, 0.0), "distance": 1.0},
    "moons": {"n": 150, "noise": 0.05, "angle": 0.0, "scale": 1.0, "shift": (0.0, 0.0)},
}


def load(argument: str, config: DataConfig, seed: int) -> Table:
    """Makes `shapes`, `blobs` or `moons`. Options follow as `?key=value&key=value`.

    - `synthetic:shapes?n=512&size=32&classes=4&shift=0&noise=.05` makes `n` training images of coloured
      shapes on a dark background. A `shift` in 0..1 blends them with their negative and a gradient.
    - `synthetic:blobs?n=300&sd=.2&shift=1,-1` makes two Gaussian blobs with `n` training rows each. They are
      `distance` apart on the first axis and moved by `shift`.
    - `synthetic:moons?n=150&noise=.05&angle=35&scale=1&shift=0,0` makes two interleaving half moons with `n`
      training rows each. They are rotated by `angle` degrees about their centre and stretched by `scale`.

    The splits val and test are drawn separately, with a quarter and a half of the rows of train.
    """
    name = argument.partition("?")[0]
    if name not in _DEFAULTS:
        raise unknown("synthetic data", name, _DEFAULTS)
    _, chosen = options(config.source, argument, _DEFAULTS[name])
    if chosen["n"] < 4:
        raise UserError(f"Option n of {config.source!r} must be at least 4. Received: n={chosen['n']}")
    make = {"shapes": _shapes, "blobs": _blobs, "moons": _moons}[name]
    splits = {}
    for number, (split, part) in enumerate({"train": 1, "val": 4, "test": 2}.items()):
        rng = np.random.default_rng([seed, number])
        x, y = make(rng, **{**chosen, "n": max(2, chosen["n"] // part)})
        order = rng.permutation(len(y))
        splits[split] = Rows(x[order], y[order], row_ids(len(y), split))
    names = SHAPES[: chosen["classes"]] if name == "shapes" else ("first", "second")
    return Table(splits, names, final=True)


def _blobs(rng, n, sd, shift, distance):
    y = np.repeat([0, 1], n)
    centres = np.array([[-distance / 2, 0.0], [distance / 2, 0.0]])
    x = centres[y] + rng.normal(0, sd, (2 * n, 2)) + np.array(shift)
    return x.astype(np.float32), y


def _moons(rng, n, noise, angle, scale, shift):
    turn = rng.uniform(0, np.pi, 2 * n)
    y = np.repeat([0, 1], n)
    outer = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    inner = np.stack([1 - np.cos(turn), 0.5 - np.sin(turn)], axis=1)
    x = np.where(y[:, None] == 0, outer, inner) + rng.normal(0, noise, (2 * n, 2))
    radians, centre = np.deg2rad(angle), np.array([0.5, 0.25])
    rotation = np.array([[np.cos(radians), np.sin(radians)], [-np.sin(radians), np.cos(radians)]])
    return ((x - centre) @ rotation * scale + centre + np.array(shift)).astype(np.float32), y


def _shapes(rng, n, size, classes, shift, noise):
    if not 2 <= classes <= len(SHAPES):
        raise UserError(
            f"Option classes of synthetic:shapes must be 2..{len(SHAPES)}. Received: classes={classes}"
        )
    if size < 8 or not 0 <= shift <= 1:
        raise UserError(
            f"synthetic:shapes needs size >= 8 and shift in 0..1. Received: size={size}, shift={shift:g}"
        )
    y = np.arange(n) % classes
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    v, u = np.meshgrid(axis, axis, indexing="ij")
    images = np.empty((n, size, size, 3), np.float32)
    for i, label in enumerate(y):
        radius = rng.uniform(0.45, 0.75)
        a, b = rng.uniform(radius - 1, 1 - radius, 2)
        inside = _inside(SHAPES[label], (u - a) / radius, (v - b) / radius)
        ground, colour = rng.uniform(0, 0.35, 3), rng.uniform(0.5, 1, 3)
        images[i] = np.where(inside[..., None], colour, ground)
    gradient = (u + v)[None, :, :, None] / 4
    images = (1 - shift) * images + shift * (1 - images + gradient)
    images += rng.normal(0, noise, images.shape)
    return np.round(images.clip(0, 1) * 255).astype(np.uint8), y


def _inside(shape, u, v):
    """Returns which points of the plane lie in a shape that fills [-1, 1]."""
    distance, side = np.hypot(u, v), np.maximum(abs(u), abs(v))
    return {
        "circle": distance < 1,
        "square": side < 0.85,
        "triangle": (v < 0.8) & (v > 2 * abs(u) - 0.9),
        "cross": (side < 1) & (np.minimum(abs(u), abs(v)) < 0.3),
        "ring": (distance < 1) & (distance > 0.55),
        "diamond": abs(u) + abs(v) < 1,
        "bars": (side < 0.9) & (np.floor((u + 0.9) / 0.36) % 2 == 0),
        "frame": (side < 0.9) & (side > 0.5),
    }[shape]


SOURCE = Source(
    "synthetic",
    "synthetic:shapes|blobs|moons[?options]",
    "made-up images and points with shifts",
    load,
    names_splits=False,
)

"""Weights and pictures that follow from their names alone, here and where the originals run."""

import zlib

import numpy as np


def random_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float32 values under which every part of a network shows in its outputs."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
    last = name.rpartition(".")[2]
    if last == "running_var":  # about what the maps have, or pictures would hardly show in the outputs
        values = 0.4 + np.abs(noise) / 10
    elif "logit_scale" in name:
        values = 1.5 + np.abs(noise) / 2
    elif last in ("weight", "in_proj_weight") and len(shape) >= 2 and shape[:3] != (1, 1, 1):
        values = noise / np.sqrt(np.prod(shape[1:]))
    elif last in ("weight", "gamma", "lambda1"):
        values = 1 + 0.2 * noise
    else:
        values = 0.2 * noise
    return np.asarray(values, "float32")


def random_pictures(count: int, side: int) -> np.ndarray:
    """Returns noise on coarse squares, about as normalised photographs are: `(count, side, side, 3)`."""
    rng = np.random.default_rng(side)
    coarse = rng.normal(size=(count, 4, 4, 3)).repeat(-(-side // 4), axis=1).repeat(-(-side // 4), axis=2)
    return (coarse[:, :side, :side] + 0.5 * rng.normal(size=(count, side, side, 3))).astype("float32")

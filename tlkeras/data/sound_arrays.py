"""Checks sounds in arrays."""

import numpy as np

from tlkeras.data.sound_files import fitted
from tlkeras.errors import UserError

# Floats may exceed full scale, but not as far as whole numbers do.
_LARGEST = 8.0


def sounds_in_array(x: object, where: str, samples: int) -> np.ndarray:
    """Returns sounds as an array `(n, samples)`, int16 or float32. Shorter ones get silence around them.

    Args:
        x: Sounds `(n, m)` of at most `samples` samples, int16 or floats with full scale 1.
        where: Name of the array in messages.
        samples: Number of samples of one input.

    Raises:
        UserError: The shape, the dtype or the range of the values is not allowed.
    """
    try:
        x = np.asarray(x)
    except ValueError:
        raise UserError(
            f"{where}: sounds must have the same length. Received: rows of different lengths"
        ) from None
    if x.ndim == 3 and x.shape[-1] in (1, 2):
        raise UserError(
            f"{where}: sounds must have one channel: use x.mean(axis=-1). Received: shape {x.shape}"
        )
    if x.ndim != 2 or 0 in x.shape:
        hint = " For a single sound use x[None]." if x.ndim == 1 and x.dtype.kind in "fiu" else ""
        raise UserError(f"{where}: sounds must be an array (n, samples).{hint} Received: shape {x.shape}")
    if x.dtype != np.int16 and x.dtype.kind != "f":
        raise UserError(f"{where}: samples must be int16, or floats in -1..1. Received: dtype={x.dtype}")
    if x.dtype.kind == "f":
        if not np.isfinite(x).all():
            raise UserError(
                f"{where}: x holds a sample that is not a finite number. Received: {x[~np.isfinite(x)][0]}"
            )
        if (peak := float(np.abs(x).max())) > _LARGEST:
            raise UserError(
                f"{where}: samples must be int16, or floats in -1..1. Received: floats up to {peak:g}"
            )
        x = x.astype(np.float32)
    if x.shape[1] > samples:
        raise UserError(
            f"{where}: sounds are longer than data.seconds, {samples} samples: cut them, or raise "
            f"data.seconds. Received: {x.shape[1]} samples"
        )
    return fitted(x, samples)

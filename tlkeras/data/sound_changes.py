"""Random changes of sounds: shift, gain, masks of times and frequencies, and noise.

As for images, a change is a pure function of the seed, the epoch and the row.
"""

import numpy as np
import tensorflow as tf

from tlkeras.config.data import AugmentConfig
from tlkeras.data.row_changes import changed_rows

_SNR_RANGE = 20.0  # decibels above the smallest signal-to-noise ratio


def changed_sounds(
    x: tf.Tensor, augment: AugmentConfig, seed: int, epoch: tf.Tensor, indices: tf.Tensor
) -> tf.Tensor:
    """Changes a batch of sounds, for use in tf.data.

    Args:
        x: Samples float32 `(b, n)`, where 1 is full scale.
        augment: Settings of the changes.
        seed: Seed of the stage.
        epoch: Number of the epoch, or of a fixed view, int64 scalar.
        indices: Indices of the rows, int64 `(b,)`.

    Returns:
        Samples float32 `(b, n)`.
    """
    change = lambda row, rng: {"samples": _changed(row["samples"], augment, rng)}  # noqa: E731
    return changed_rows({"samples": x}, change, seed, epoch, indices)["samples"]


def _changed(samples: np.ndarray, augment: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    count = len(samples)
    shift, gain, time_width, time_at, band_width, band_at, ratio = rng.random(7)
    samples = _shifted(samples.astype(np.float64), round((2 * shift - 1) * augment.shift * count))
    samples *= 10 ** ((2 * gain - 1) * augment.gain / 20)
    if augment.band_mask:  # SpecAugment's mask of frequencies, on the samples
        spectrum = np.fft.rfft(samples)
        spectrum[_stretch(len(spectrum), band_width * augment.band_mask, band_at)] = 0
        samples = np.fft.irfft(spectrum, count)
    if augment.time_mask:
        samples[_stretch(count, time_width * augment.time_mask, time_at)] = 0
    if augment.snr is not None:
        decibels = augment.snr + _SNR_RANGE * ratio
        loudness = np.sqrt(np.mean(samples**2))
        samples = samples + rng.standard_normal(count) * loudness * 10 ** (-decibels / 20)
    if augment.noise:
        samples = samples + rng.standard_normal(count) * augment.noise
    return samples.astype(np.float32)


def _shifted(samples: np.ndarray, by: int) -> np.ndarray:
    """Returns samples `by` places later, with silence in the places that become free."""
    moved = np.roll(samples, by)
    moved[slice(0, by) if by >= 0 else slice(by, None)] = 0
    return moved


def _stretch(count: int, fraction: float, place: float) -> slice:
    width = round(fraction * count)
    begin = round(place * (count - width))
    return slice(begin, begin + width)

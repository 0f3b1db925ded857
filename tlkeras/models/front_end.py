"""Front ends: the layers of a saved model that turn samples of sound into spectrograms."""

import math

import keras
import numpy as np

from tlkeras.config import FrontEndConfig
from tlkeras.errors import UserError

_QUIETEST = -100.0  # decibels, which are black in the picture
_CHANNELS = 3


def log_mel_picture(x, config: FrontEndConfig):
    """Returns spectrograms of sounds as pictures for a backbone of images.

    The layers are Keras' own, fixed, and compute in float32. Frames begin every `hop` seconds from the first
    sample, without padding; Keras' `MelSpectrogram` pads and gives other frames. The power is that of a Hann
    window, relative to a constant at full scale, in decibels with a floor of -100. With a Fourier transform
    of 512 samples, the bands are those of `librosa.feature.melspectrogram(center=False, norm=None)`.

    Args:
        x: Symbolic samples float32 `(b, n)`, where 1 is full scale.
        config: Config of the front end, with its `sample_rate`.

    Returns:
        float32 `(b, height, width, 3)` in 0..255: time from left to right, low bands at the bottom, and
        three equal channels.
    """
    window, kernels, mel = _tables(config)
    _check_length(x.shape[1], len(window), config)
    layers, same = keras.layers, {"dtype": "float32", "trainable": False}
    x = layers.Reshape((x.shape[1], 1), dtype="float32", name="front_end_samples")(x)
    parts = []
    for name, kernel in zip(("cos", "sin"), kernels, strict=True):
        stft = layers.Conv1D(
            kernel.shape[-1], len(window), round(config.hop * config.sample_rate),
            use_bias=False, name=f"front_end_{name}", **same,
        )  # fmt: skip
        part = stft(x)
        stft.set_weights([kernel[:, None]])
        parts.append(layers.Multiply(dtype="float32", name=f"front_end_{name}_power")([part, part]))
    x = layers.Add(dtype="float32", name="front_end_power")(parts)
    bands = layers.Dense(config.bands, use_bias=False, name="front_end_mel", **same)
    x = bands(x)
    bands.set_weights([mel])
    x = keras.ops.log(keras.ops.maximum(x, 10 ** (_QUIETEST / 10)))
    to_255 = 255 / -_QUIETEST
    x = layers.Rescaling(to_255 * 10 / math.log(10), 255.0, dtype="float32", name="front_end_decibels")(x)
    x = layers.ReLU(255.0, dtype="float32", name="front_end_range")(x)
    x = layers.Permute((2, 1), dtype="float32", name="front_end_turn")(x)
    x = layers.Reshape((*x.shape[1:], 1), dtype="float32", name="front_end_picture")(x)
    if config.size is not None:
        x = layers.Resizing(*config.size, dtype="float32", name="front_end_resize")(x)
    return layers.Concatenate(dtype="float32", name="front_end")([x] * _CHANNELS)


def picture_shape(samples: int, config: FrontEndConfig) -> tuple[int, int, int]:
    """Returns the shape of the picture of a sound: height, width and channels."""
    window = _fourier_length(config)
    _check_length(samples, window, config)
    frames = 1 + (samples - window) // round(config.hop * config.sample_rate)
    return (*(config.size or (config.bands, frames)), _CHANNELS)


def _check_length(samples: int, window: int, config: FrontEndConfig) -> None:
    if samples < window:
        raise UserError(
            f"A sound must be at least as long as a frame of {window} samples: raise data.seconds. "
            f"Received: {samples} samples"
        )


def _fourier_length(config: FrontEndConfig) -> int:
    return 2 ** math.ceil(math.log2(config.window * config.sample_rate))


def _tables(config: FrontEndConfig) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the window `(n,)`, the kernels of cosine and sine `(n, bins)` and the bands `(bins, bands)`."""
    length, width = _fourier_length(config), round(config.window * config.sample_rate)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    before = (length - width) // 2
    window = np.pad(hann / hann.sum(), (before, length - width - before))
    turns = 2 * np.pi * np.outer(np.arange(length), np.arange(length // 2 + 1)) / length
    kernels = tuple((window[:, None] * wave(turns)).astype("float32") for wave in (np.cos, np.sin))
    return window, kernels, _bands(config, length).astype("float32")


def _bands(config: FrontEndConfig, length: int) -> np.ndarray:
    """Returns triangles on Slaney's mel scale, which is linear below 1,000 Hz, the highest band first."""
    high = config.high or config.sample_rate / 2
    if not config.low < high <= config.sample_rate / 2:
        raise UserError(
            "model.front_end.low and high must lie in order below half of data.sample_rate. "
            f"Received: low={config.low:g}, high={high:g}, sample_rate={config.sample_rate}"
        )
    corners = _hertz(np.linspace(_mel(config.low), _mel(high), config.bands + 2))
    bins = np.arange(length // 2 + 1) * config.sample_rate / length
    rising = (bins[:, None] - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins[:, None]) / np.diff(corners)[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    if not triangles.any(axis=0).all():
        raise UserError(
            "model.front_end has more bands than its window can tell apart: take fewer bands or a longer "
            f"window. Received: bands={config.bands}, window={config.window:g}"
        )
    return triangles[:, ::-1]


_LINEAR, _STEP = 1000.0, math.log(6.4) / 27  # Hz up to which the scale is linear, and its step above


def _mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < _LINEAR else 15 + math.log(hertz / _LINEAR) / _STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, 200 * mels / 3, _LINEAR * np.exp(_STEP * (mels - 15)))

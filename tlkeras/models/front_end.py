"""Front ends: layers of a saved model that convert samples of sound to spectrograms."""

import math

import keras
import numpy as np

from tlkeras.config import FrontEndConfig
from tlkeras.errors import UserError
from tlkeras.models.speech_frames import BANDS, HIGH, HOP, LENGTH, LOW, RATE, WINDOW

_QUIETEST = -100.0  # decibels, which are black in the picture
_CHANNELS = 3


def log_mel_picture(x, config: FrontEndConfig):
    """Returns spectrograms of sounds as pictures for an image backbone.

    The layers are Keras' own, have fixed weights, and compute in float32. Frames begin every `hop` seconds
    from the first sample, without padding. (Keras' `MelSpectrogram` pads and gives other frames.) The power
    is that of a Hann window, relative to a constant at full scale, in decibels with a minimum of -100. With a
    Fourier transform of 512 samples, the bands are those of `librosa.feature.melspectrogram(center=False,
    norm=None)`.

    Args:
        x: Symbolic samples, float32 `(b, n)`, with full scale 1.
        config: Config of the front end, with its `sample_rate`.

    Returns:
        Pictures, float32 `(b, height, width, 3)` in 0..255. Time goes from left to right, low bands are at
        the bottom, and the three channels are equal.
    """
    rate, length = config.sample_rate, _fourier_length(config)
    _check_length(x.shape[1], length, config)
    layers, window = keras.layers, _hann(round(config.window * rate), length)
    bands = _bands(config.low, _high(config), config.bands, length, rate)
    if not bands.any(axis=0).all():
        raise UserError(
            "model.front_end has more bands than its window can resolve: use fewer bands or a longer "
            f"window. Received: bands={config.bands}, window={config.window:g}"
        )
    x = _power(x, window / window.sum(), round(config.hop * rate), bands[:, ::-1])
    x = keras.ops.log(keras.ops.maximum(x, 10 ** (_QUIETEST / 10)))
    to_255 = 255 / -_QUIETEST
    x = layers.Rescaling(to_255 * 10 / math.log(10), 255.0, dtype="float32", name="front_end_decibels")(x)
    x = layers.ReLU(255.0, dtype="float32", name="front_end_range")(x)
    x = layers.Permute((2, 1), dtype="float32", name="front_end_turn")(x)
    x = layers.Reshape((*x.shape[1:], 1), dtype="float32", name="front_end_picture")(x)
    if config.size is not None:
        x = layers.Resizing(*config.size, dtype="float32", name="front_end_resize")(x)
    return layers.Concatenate(dtype="float32", name="front_end")([x] * _CHANNELS)


def speech_log_mel(x):
    """Returns the frames that Google's speech embedding takes, as openWakeWord computes them.

    The bands have unit area (Slaney), and a clip's decibels are at most 80 below its loudest.

    Args:
        x: Symbolic samples float32 `(b, n)` at 16 kHz, where 1 is full scale.

    Returns:
        float32 `(b, frames, 32, 1)`.
    """
    bands = _bands(LOW, HIGH, BANDS, LENGTH, RATE)
    corners = _hertz(np.linspace(_mel(LOW), _mel(HIGH), BANDS + 2))
    x = _power(x, 32768 * _hann(WINDOW, LENGTH), HOP, bands * 2 / (corners[2:] - corners[:-2]))
    x = keras.ops.log(keras.ops.maximum(x, 1e-10)) * (10 / math.log(10))
    x = keras.ops.maximum(x, keras.ops.max(x, axis=(1, 2), keepdims=True) - 80.0)
    x = keras.layers.Rescaling(0.1, 2.0, dtype="float32", name="front_end_scale")(x)
    return keras.layers.Reshape((*x.shape[1:], 1), dtype="float32", name="front_end")(x)


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


def _high(config: FrontEndConfig) -> float:
    high = config.high or config.sample_rate / 2
    if not config.low < high <= config.sample_rate / 2:
        raise UserError(
            "model.front_end.low must be below model.front_end.high, and both must be below half of "
            f"data.sample_rate. Received: low={config.low:g}, high={high:g}, "
            f"sample_rate={config.sample_rate}"
        )
    return high


def _power(x, window: np.ndarray, hop: int, bands: np.ndarray):
    """Returns the power of samples `(b, n)` in bands, float32 `(b, frames, bands)`, by fixed layers."""
    layers, length = keras.layers, len(window)
    x = layers.Reshape((x.shape[1], 1), dtype="float32", name="front_end_samples")(x)
    turns = 2 * np.pi * np.outer(np.arange(length), np.arange(length // 2 + 1)) / length
    parts = []
    for name, wave in (("cos", np.cos), ("sin", np.sin)):
        kernel = window[:, None, None] * wave(turns)[:, None]
        layer = layers.Conv1D(
            kernel.shape[-1], length, hop, use_bias=False, dtype="float32", name=f"front_end_{name}"
        )
        part = _fixed(layer, kernel, x)
        parts.append(layers.Multiply(dtype="float32", name=f"front_end_{name}_power")([part, part]))
    x = layers.Add(dtype="float32", name="front_end_power")(parts)
    layer = layers.Dense(bands.shape[1], use_bias=False, dtype="float32", name="front_end_mel")
    return _fixed(layer, bands, x)


def _fixed(layer, weights: np.ndarray, x):
    """Returns the outputs of a layer that keeps these weights."""
    y = layer(x)
    layer.set_weights([weights.astype("float32")])
    layer.trainable = False
    return y


def _hann(width: int, length: int) -> np.ndarray:
    """Returns a periodic Hann window `(width,)` in the middle of `(length,)`."""
    before = (length - width) // 2
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    return np.pad(hann, (before, length - width - before))


def _bands(low: float, high: float, count: int, length: int, rate: int) -> np.ndarray:
    """Returns triangles on Slaney's mel scale, which is linear below 1,000 Hz, `(length / 2 + 1, count)`."""
    corners = _hertz(np.linspace(_mel(low), _mel(high), count + 2))
    bins = np.arange(length // 2 + 1)[:, None] * rate / length
    rising = (bins - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins) / np.diff(corners)[1:]
    return np.maximum(0, np.minimum(rising, falling))


_LINEAR, _STEP = 1000.0, math.log(6.4) / 27  # Hz up to which the scale is linear, and its step above


def _mel(hertz: float) -> float:
    return 3 * hertz / 200 if hertz < _LINEAR else 15 + math.log(hertz / _LINEAR) / _STEP


def _hertz(mels: np.ndarray) -> np.ndarray:
    return np.where(mels < 15, 200 * mels / 3, _LINEAR * np.exp(_STEP * (mels - 15)))

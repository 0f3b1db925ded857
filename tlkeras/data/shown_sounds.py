"""Sounds in a form for people: spectrograms as pictures, and short WAV files."""

import io
import wave

import numpy as np

from tlkeras.lazy import LateModule

matplotlib = LateModule("matplotlib")

ROWS, COLUMNS = 96, 256  # of a spectrogram
_WINDOW = 512
_RANGE = 80.0  # decibels from black to the brightest colour
_LONGEST_SECONDS = 5


def heights() -> np.ndarray:
    """Returns the frequency of each row of a spectrogram as a fraction of half the rate, the highest first.

    Low frequencies take more rows: the frequency is the square of the height.
    """
    return (np.arange(ROWS)[::-1] / (ROWS - 1)) ** 2


def spectrograms(x: np.ndarray) -> np.ndarray:
    """Returns the spectrograms of sounds `(n, samples)` as pictures in 0..255, float32 `(n, 96, 256, 3)`.

    Time runs from left to right. Each picture reaches from its loudest place to 80 decibels below.
    """
    window = min(_WINDOW, x.shape[1])
    begins = np.linspace(0, x.shape[1] - window, COLUMNS).astype(int)
    frames = np.stack([x[:, begin : begin + window] for begin in begins], axis=1)
    power = np.abs(np.fft.rfft(frames * np.hanning(window))) ** 2
    decibels = 10 * np.log10(np.maximum(power, 1e-12))
    decibels = decibels[..., (heights() * (power.shape[-1] - 1)).round().astype(int)].swapaxes(1, 2)
    loudest = decibels.max(axis=(1, 2), keepdims=True)
    light = np.where(loudest > -120, 1 + (decibels - loudest) / _RANGE, 0).clip(0, 1)
    return (255 * matplotlib.colormaps["magma"](light)[..., :3]).astype(np.float32)


def wav(samples: np.ndarray, rate: int) -> bytes:
    """Returns the first five seconds of samples `(n,)` as the content of a WAV file of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(rate)
        whole = np.clip(samples[: _LONGEST_SECONDS * rate] * 32767, -32768, 32767).round()
        opened.writeframes(whole.astype("<i2").tobytes())
    return file.getvalue()

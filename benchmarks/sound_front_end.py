"""Does the front end give the spectrograms of librosa? Prints one line of JSON.

    python benchmarks/sound_front_end.py --sounds=FILE.npz

The file holds `x` (n, samples), int16 at 16 kHz. It needs librosa, which tlkeras does not.
"""

import argparse
import json

import keras
import librosa
import numpy as np

from tlkeras.config import FrontEndConfig
from tlkeras.data.sound_files import as_floats
from tlkeras.models.front_end import log_mel_picture

RATE, LENGTH, HOP, WINDOW = 16_000, 512, 160, 400


def main() -> None:
    """Compares the decibels of both, and of Keras' own layer, which pads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sounds", required=True)
    parser.add_argument("--rows", type=int, default=100)
    options = parser.parse_args()
    x = as_floats(np.load(options.sounds)["x"][:: max(1, 3000 // options.rows)])
    inputs = keras.Input((x.shape[1],))
    config = FrontEndConfig(sample_rate=RATE)
    model = keras.Model(inputs, log_mel_picture(inputs, config))
    ours = (model.predict(x, verbose=0)[:, ::-1, :, 0] / 2.55) - 100
    how = {"sr": RATE, "n_fft": LENGTH, "hop_length": HOP, "win_length": WINDOW, "n_mels": config.bands,
           "fmin": config.low, "norm": None, "power": 2.0}  # fmt: skip
    scale = librosa.filters.get_window("hann", WINDOW, fftbins=True).sum() ** 2
    power = librosa.feature.melspectrogram(y=x.astype(np.float64), center=False, **how) / scale
    theirs = librosa.power_to_db(power, ref=1.0, amin=1e-10, top_db=None).clip(-100, 0)
    padded = keras.layers.MelSpectrogram(
        LENGTH, HOP, WINDOW, sampling_rate=RATE, num_mel_bins=config.bands, min_freq=config.low
    )(x)
    print(
        json.dumps(
            {
                "clips": len(x),
                "shape": list(ours.shape[1:]),
                "largest_difference_db": float(np.abs(ours - theirs).max()),
                "mean_difference_db": float(np.abs(ours - theirs).mean()),
                "deviation_db": float(theirs.std()),
                "shape_of_keras_mel_spectrogram": list(padded.shape[1:]),
            }
        )
    )


if __name__ == "__main__":
    main()

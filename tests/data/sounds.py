"""Made-up sounds for tests: a low and a high tone, each in noise."""

import numpy as np

RATE = 8_000
TONES = {"high": 1200.0, "low": 300.0}


def tones(count, seed=0, seconds=0.5, rate=RATE):
    """Returns sounds float32 `(count, samples)` in -1..1, and their classes `(count,)`."""
    rng = np.random.default_rng(seed)
    classes = rng.choice(sorted(TONES), count)
    time = np.arange(round(seconds * rate)) / rate
    pitch = np.array([TONES[name] for name in classes]) * rng.uniform(0.9, 1.1, count)
    waves = np.sin(2 * np.pi * pitch[:, None] * time + rng.uniform(0, 6, (count, 1)))
    sounds = rng.uniform(0.1, 0.5, (count, 1)) * waves + rng.normal(0, 0.02, waves.shape)
    return sounds.astype(np.float32), classes

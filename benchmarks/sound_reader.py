"""How many sounds the reader of training gives in a second, by format and rate of the files.

Command:  python benchmarks/sound_reader.py
Time:     about a minute on two CPU cores.

The files hold noise and tones, and are read as two seconds at 16 kHz in batches of 32. No samples are stored.
The table has the median of five passes over 512 files of two seconds, and over 64 files of a minute, of
which a random window of two seconds is drawn.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from tlkeras.config import AugmentConfig, DataConfig
from tlkeras.data import load_domain, training_batches

FILES, PASSES, SECONDS, RATE = 512, 5, 2.0, 16_000


def main() -> None:
    """Prints a row for each kind of file."""
    print("| files | sounds per second, beginning | random window of a minute |")
    print("|---|---|---|")
    for suffix, rate in (
        ("wav", 16_000),
        ("wav", 44_100),
        ("flac", 44_100),
        ("ogg", 44_100),
        ("mp3", 44_100),
    ):
        short, long = (speed(suffix, rate, seconds, window) for seconds, window in ((2, False), (60, True)))
        print(f"| {suffix}, {rate:,} samples per second | {short:,.0f} | {long:,.0f} |", flush=True)


def speed(suffix: str, rate: int, seconds: float, window: bool) -> float:
    """Returns sounds per second."""
    rng, count = np.random.default_rng(0), FILES if seconds < 10 else FILES // 8
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for number in range(count):
            name = ("a", "b")[number % 2]
            (place / name).mkdir(exist_ok=True)
            moment = np.arange(round(seconds * rate)) / rate
            sound = 0.3 * np.sin(2 * np.pi * rng.uniform(200, 2000) * moment)
            sound += rng.normal(0, 0.05, len(moment))
            with soundfile.SoundFile(place / name / f"{number}.{suffix}", "w", rate, 1) as file:
                for begin in range(0, len(sound), rate):  # libsndfile crashes on a minute of OGG at once
                    file.write(sound[begin : begin + rate])
        data = DataConfig(
            source=f"folder:{folder}", seconds=SECONDS, sample_rate=RATE, memory_mb=0, val_fraction=0,
            test_fraction=0,
        )  # fmt: skip
        domain = load_domain(data, seed=0)
        rows = domain.splits["train"]
        found = []
        for number in range(PASSES):
            batches = training_batches(
                rows, domain, batch_size=32, seed=number, augment=AugmentConfig(window=window),
                steps=len(rows) // 32, with_labels=False,
            )  # fmt: skip
            _ = rows.facts  # found once per run
            begun = time.perf_counter()
            read = sum(len(x) for x in batches)
            found.append(read / (time.perf_counter() - begun))
    return float(np.median(found))


if __name__ == "__main__":
    main()

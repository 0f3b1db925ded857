"""Writes spoken digits as WAV files and `list.csv` with the columns path, label and group, the voice.

    python benchmarks/spoken_digits.py --folder=spoken_digits
    python benchmarks/spoken_digits.py --folder=recordings --recordings=FILE.npz

The first writes about 1,000 sounds of synthetic voices and needs the command `espeak-ng` (a package of
Debian). The file of the second holds `x` int16 (n, samples) at 16 kHz, `y` 0..9 and `voice`, such as those of
the Free Spoken Digit Dataset (CC-BY-SA-4.0).
"""

import argparse
import csv
import subprocess
from pathlib import Path

import numpy as np
import soundfile

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spoken(folder: Path, espeak: str) -> list[tuple]:
    """Lets each variant of the English voice speak each digit. Returns the lines of the list."""
    listed = subprocess.run([espeak, "--voices=variant"], capture_output=True, text=True, check=True).stdout
    voices = [line.split("!v/")[1].split()[0] for line in listed.splitlines()[1:]]
    lines = []
    for voice in voices:
        for digit in DIGITS:
            path = f"{voice}_{digit}.wav"
            command = [espeak, "-v", f"en-us+{voice}", "-w", str(folder / path), digit]
            if subprocess.run(command, capture_output=True).returncode == 0 and (folder / path).exists():
                lines.append((path, digit, voice))
    return lines


def recorded(folder: Path, file: str) -> list[tuple]:
    """Writes the recordings of a file. Returns the lines of the list."""
    lines = []
    with np.load(file) as held:
        for number, (x, y, voice) in enumerate(zip(held["x"], held["y"], held["voice"], strict=True)):
            path = f"{number:04}_{voice}.wav"
            soundfile.write(folder / path, x, 16_000)
            lines.append((path, DIGITS[y], voice))
    return lines


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("--recordings")
    parser.add_argument("--espeak", default="espeak-ng")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    made = recorded(options.folder, options.recordings) if options.recordings else None
    lines = spoken(options.folder, options.espeak) if made is None else made
    with open(options.folder / "list.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "group"), *lines])
    print(f"{len(lines)} sounds of {len({line[2] for line in lines})} voices in {options.folder}")


if __name__ == "__main__":
    main()

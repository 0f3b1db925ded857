"""Measures how memory and the time before the first step grow with the rows of a list.

Command:  python benchmarks/many_rows.py [--rows 1000 10000 100000 1000000] [--folder=DIR] [--own-names]
Time:     about five minutes on two CPU cores; with --own-names ten.

A CSV file names 2,000 made-up JPEG files at random, each many times. A process trains on it until its first
step begins. It starts with an empty cache directory, and then once more. With --own-names every row of the
largest list is a file of its own (by links to the folder of the pictures), which is the harder case: no path
comes twice. Seconds are counted from the start of the process; those of the processor do not depend on what
else the machine does. Memory is the peak of the resident memory.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made_up_images import make_folder
from measuring import peak_memory_mb

FILES = 2000


def main() -> None:
    """Runs all sizes and prints a line for each, then the linear fits."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "tlkeras_many_rows"))
    parser.add_argument("--own-names", action="store_true")
    parser.add_argument("--start", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    folder = Path(arguments.folder)
    if arguments.start:
        start(folder, arguments.start)
    make_folder(folder / "pictures", FILES, size=64)
    found = [both_starts(folder, write_list(folder, count)) for count in arguments.rows]
    for which in ("first", "second"):
        seconds = [starts[which]["processor"] for starts in found]
        slope, constant = np.polyfit(arguments.rows, seconds, 1)
        residual = np.asarray(seconds) - (slope * np.asarray(arguments.rows) + constant)
        print(
            f"{which} start: {1e6 * slope:.1f} processor seconds per million rows + {constant:.1f}, "
            f"R2 {1 - np.var(residual) / np.var(seconds):.4f}"
        )
    if arguments.own_names:
        both_starts(folder, write_list(folder, max(arguments.rows), own_names=True))


def write_list(folder: Path, count: int, own_names: bool = False) -> Path:
    """Writes a CSV file of `count` rows over the pictures and returns it."""
    pictures = sorted((folder / "pictures").rglob("*.jpg"))
    names = [str(path.relative_to(folder / "pictures")) for path in pictures]
    rows, links = np.random.default_rng(0).integers(0, len(names), count), ["pictures"] * count
    if own_names:
        rows = np.arange(count) % len(names)
        links = [f"link_{number // len(names)}" for number in range(count)]
        for link in set(links):
            if not (folder / link).is_symlink():
                (folder / link).symlink_to("pictures", target_is_directory=True)
    file = folder / f"rows_{count}{'_own_names' * own_names}.csv"
    with open(file, "w") as written:
        written.write("path,label\n")
        for link, row in zip(links, rows, strict=True):
            written.write(f"{link}/{names[row]},{pictures[row].parent.name}\n")
    return file


def both_starts(folder: Path, file: Path) -> dict[str, dict]:
    """Starts a run twice in processes of their own, the first time without a cache. Prints a line."""
    shutil.rmtree(folder / "cache", ignore_errors=True)
    found = {}
    for which in ("first", "second"):
        shutil.rmtree(folder / "run", ignore_errors=True)
        command = [sys.executable, __file__, f"--folder={folder}", f"--start={file}"]
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
        if not done.stdout.strip().endswith("}"):
            raise SystemExit(f"The run failed:\n{done.stdout}\n{done.stderr[-3000:]}")
        found[which] = json.loads(done.stdout.strip().splitlines()[-1])
        found[which]["seconds"] = round(time.perf_counter() - began, 1)
    print(json.dumps({"list": file.stem, **found}), flush=True)
    return found


def start(folder: Path, file: str) -> None:
    """Trains on a list until the first step begins, prints the peak memory, and ends the process."""
    import keras

    import tlkeras

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            found = {"memory_mb": round(peak_memory_mb()), "processor": round(time.process_time(), 1)}
            print(json.dumps(found), flush=True)
            os._exit(0)

    changes = [
        f"data.source=csv:{file}", "data.image_size=32", "data.batch_size=64", "data.memory_mb=64",
        "stages.0.train=all", f"cache.dir={folder / 'cache'}",
    ]  # fmt: skip
    config = tlkeras.load_config("synthetic_smoke", changes)
    tlkeras.run_experiment(config, str(folder / "run"), callbacks=[Stop()])


if __name__ == "__main__":
    main()

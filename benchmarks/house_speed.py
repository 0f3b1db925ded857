"""Compares the speed of two checkouts: medians of paired ratios of an epoch, a DANN step, a frozen stage and
a command's help.

Command:  python benchmarks/house_speed.py --old=DIR --new=DIR [--pairs=5] [--case=NAME ...]
Time:     ten minutes on two CPU cores.

Both sides of a pair run one after the other in processes of their own, and take turns at being first. The
script uses only the public interface, with the checkout's own `.venv/bin/python`. An epoch includes
validation and checkpoint and lasts from its start to the start of the next one. A step is an epoch divided by
its number of batches. Both are medians over the epochs of a run after the first. The frozen stage reads 2,000
JPEG files, extracts their features with MobileNetV2 into an empty cache and trains a head for ten epochs; its
time is that of the whole process. The time of the help is the median of nine calls. A ratio above
1 means that the new checkout takes longer.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from made_up_images import make_folder
from measuring import interval, run_in

DATA = {"source": "synthetic:shapes?n=1600&size=32", "image_size": 32, "batch_size": 32}
STAGE = {
    "name": "tune", "train": "all", "bn": "train", "epochs": 10,
    "optimizer": {"name": "sgd", "learning_rate": 0.01},
}  # fmt: skip
EPOCH = {
    "data": DATA, "stages": [STAGE], "tensorboard": {"images": False}, "checkpoint": {"monitor": "last_step"},
    "model": {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [16, 32, 32]}},
}  # fmt: skip
TARGET = {**DATA, "source": "synthetic:shapes?n=1600&size=32&shift=.6"}
DANN = EPOCH | {"adaptation": {"method": "dann", "target": TARGET, "twin": False}}
PICTURES = Path(tempfile.gettempdir(), "tlkeras_house_speed")
FROZEN = {
    "data": {"source": f"folder:{PICTURES}", "image_size": 96, "val_fraction": 0.2, "test_fraction": 0},
    "model": {"backbone": "mobilenet_v2", "weights": None}, "tensorboard": {"images": False},
    "stages": [{"name": "head", "train": "head", "epochs": 10}],
}  # fmt: skip
HELP = "import sys; from tlkeras.cli.main import entry; sys.argv = ['tlkeras', 'train', '--help']; entry()"


def main() -> None:
    """Prints a line per pair and one per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("--new", type=Path, required=True)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--case", action="append", choices=list(CASES))
    asked = parser.parse_args()
    make_folder(PICTURES, 2000, size=128)
    for name in asked.case or CASES:
        found = [pair(CASES[name], asked.old, asked.new, bool(i % 2)) for i in range(asked.pairs)]
        ratios = [new / old for old, new in found]
        low, high = interval(ratios)
        print(
            f"{name}: median ratio {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, "
            f"95 % {low:.3f} to {high:.3f}); old {1e3 * statistics.median(o for o, _ in found):.2f} ms, "
            f"new {1e3 * statistics.median(n for _, n in found):.2f} ms",
            flush=True,
        )


def pair(measure, old: Path, new: Path, new_first: bool) -> tuple[float, float]:
    """Returns the seconds of both checkouts."""
    seconds = [measure(side) for side in ((new, old) if new_first else (old, new))]
    before, now = reversed(seconds) if new_first else seconds
    print(f"  old {1e3 * before:.2f} ms, new {1e3 * now:.2f} ms", flush=True)
    return before, now


def trained(config: dict, what: str):
    """Returns a function that trains a config in a checkout and returns its seconds per epoch or step."""
    return lambda checkout: json.loads(
        run_in(checkout, __file__, "--train", json.dumps(config)).splitlines()[-1]
    )[what]


def whole_run(config: dict):
    """Returns a function that trains a config in a checkout and returns the seconds of the whole process."""

    def seconds(checkout: Path) -> float:
        began = time.perf_counter()
        run_in(checkout, __file__, "--train", json.dumps(config))
        return time.perf_counter() - began

    return seconds


def help_seconds(checkout: Path) -> float:
    """Returns the median time of `tlkeras train --help`."""
    seconds = []
    for _ in range(9):
        began = time.perf_counter()
        run_in(checkout, "-c", HELP)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def train(config: dict) -> dict[str, float]:
    """Trains here and returns the median seconds of an epoch and of a step after the first epoch.

    The times come from Keras' own list of callbacks, which every training loop of Keras calls.
    """
    import keras

    from tlkeras import load_config, run_experiment

    epochs, batches = [], []
    told = keras.callbacks.CallbackList
    begin, end = told.on_epoch_begin, told.on_train_batch_end

    def on_epoch_begin(self, epoch, logs=None):
        epochs.append(time.perf_counter())
        batches.append([])
        begin(self, epoch, logs)

    def on_train_batch_end(self, batch, logs=None):
        end(self, batch, logs)
        batches[-1].append((batch, time.perf_counter()))

    told.on_epoch_begin, told.on_train_batch_end = on_epoch_begin, on_train_batch_end
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, "config.json")
        place.write_text(json.dumps(config | {"cache": {"dir": f"{folder}/cache"}}))
        run_experiment(load_config(str(place)), Path(folder, "run"))
    # a head on cached features takes a whole epoch in one call
    several = [times for times in batches[1:] if len(times) > 1]
    steps = [(last[1] - first[1]) / (last[0] - first[0]) for first, *_, last in several]
    return {"epoch": statistics.median(np.diff(epochs)[1:]), "step": statistics.median(steps or [0.0])}


CASES = {
    "an epoch of fine-tuning": trained(EPOCH, "epoch"),
    "a DANN step": trained(DANN, "step"),
    "a frozen stage": whole_run(FROZEN),
    "tlkeras train --help": help_seconds,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--train"]:
        print(json.dumps(train(json.loads(sys.argv[2]))))
    else:
        main()

"""What MirroredStrategy with one replica costs, and what several steps per call save, as paired ratios.

Command:  python benchmarks/replicas.py [--pairs=5]
Time:     three minutes on two CPU cores. docs/scaling.md quotes it.
Compare:  the same training by the same commands with `runtime.strategy=none`, or `steps_per_call=1`.

Every side is a process of its own; the two of a pair run one after the other. Counted is the median epoch
after the first, in which TensorFlow traces. A ratio above 1 means that the first of the two took longer.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from measuring import interval

EPOCHS = 8
SIDES = {
    # a picture network whose every step computes the trunk: pixels are flipped anew in each epoch
    "mirrored": {"strategy": "mirrored", "train": "last:1", "flip": True},
    "none": {"strategy": "none", "train": "last:1", "flip": True},
    # a small head on cached features, where Python between the steps is most of the time; epochs long enough
    # that saving a checkpoint at their ends is not
    "one step per call": {"strategy": "none", "train": "head", "rows": 16000, "steps_per_call": 1},
    "several steps per call": {"strategy": "none", "train": "head", "rows": 16000, "steps_per_call": 50},
}
PAIRS = [("mirrored", "none"), ("one step per call", "several steps per call")]


def main() -> None:
    """Prints a line per pair of sides."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5)
    count = parser.parse_args().pairs
    for slow, fast in PAIRS:
        found = [(epoch_seconds(slow), epoch_seconds(fast)) for _ in range(count)]
        ratios = [a / b for a, b in found]
        low, high = interval(ratios)
        print(f"{slow} / {fast}: median {statistics.median(ratios):.3f} of {count}", end=" ")
        print(f"({', '.join(f'{r:.2f}' for r in sorted(ratios))}), 95 % {low:.2f} to {high:.2f};", end=" ")
        print(f"an epoch {1e3 * statistics.median(b for _, b in found):.0f} ms", flush=True)


def epoch_seconds(side: str) -> float:
    """Returns what an epoch of one side takes, in a process of its own."""
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, __file__, "--side", json.dumps(SIDES[side])]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def train(side: dict) -> float:
    """Trains one side here and returns the median seconds of its epochs."""
    from tlkeras import load_config, run_experiment
    from tlkeras.training.callbacks import Position

    seconds = []
    Position.on_train_begin = lambda self, logs=None: seconds.append(time.perf_counter())
    Position.on_epoch_end = lambda self, epoch, logs=None: seconds.append(time.perf_counter())
    settings = [
        f"data.source=synthetic:shapes?n={side.get('rows', 1600)}&size=32",
        "data.image_size=32", "data.batch_size=32",
        "data.val_fraction=0", "data.test_fraction=0", f"runtime.strategy={side['strategy']}",
        "runtime.devices=1", "tensorboard.images=false", "checkpoint.monitor=loss",
    ]  # fmt: skip
    stage = {"name": "stage", "train": side["train"], "epochs": EPOCHS}
    stage["steps_per_call"] = side.get("steps_per_call", 1)
    stage["augment"] = {"flip": "horizontal" if side.get("flip") else "none"}
    with tempfile.TemporaryDirectory() as folder:
        settings += [f"cache.dir={folder}/cache", f"stages={json.dumps([stage])}"]
        run_experiment(load_config("synthetic_smoke", settings), f"{folder}/run")
    return statistics.median(np.diff(seconds)[1:])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(train(json.loads(sys.argv[2])))
    else:
        main()

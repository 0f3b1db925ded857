"""Measures the cost of one mirrored replica and the gain of several steps per call, as paired ratios.

Command:  python benchmarks/replicas.py [--rounds=5] [--only=replica|calls]
Time:     four minutes on two CPU cores. docs/scaling.md shows the results.
Compare:  the same training with `runtime.strategy=none`, or with `steps_per_execution=1`.

"mirrored, as tlkeras runs it" uses `strategy=mirrored` with one device, where tlkeras takes TensorFlow's
default strategy. "MirroredStrategy" uses a real `tf.distribute.MirroredStrategy(["CPU:0"])`, whose cost
tlkeras avoids. Each side checks under which class it trained.

Every side is a process of its own. The processes of a round run one after the other. The result is the median
epoch after the first one, in which TensorFlow traces. A ratio above 1 means that the first of the two took
longer.
"""

import argparse
import importlib
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
# a picture network whose every step computes the trunk: pixels are flipped anew in each epoch
PICTURES = {"strategy": "none", "class": "_DefaultDistributionStrategy", "train": "last:1", "flip": True}
# a small head on cached features, where Python between the steps is most of the time; epochs long enough
# that saving a checkpoint at their ends is not
HEAD = {"strategy": "none", "class": "_DefaultDistributionStrategy", "train": "head", "rows": 16000}
SIDES = {
    "none": PICTURES,
    "mirrored, as tlkeras runs it": PICTURES | {"strategy": "mirrored"},
    "MirroredStrategy": PICTURES | {"strategy": "mirrored", "class": "MirroredStrategy"},
    "one step per call": HEAD | {"steps_per_execution": 1},
    "several steps per call": HEAD | {"steps_per_execution": 50},
}
# the sides of a round; the time of each is divided by that of the last
ROUNDS = {
    "replica": ("mirrored, as tlkeras runs it", "MirroredStrategy", "none"),
    "calls": ("one step per call", "several steps per call"),
}


def main() -> None:
    """Prints one line per ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=list(ROUNDS))
    flags = parser.parse_args()
    for name, sides in ROUNDS.items():
        if flags.only in (None, name):
            found = [measured_round(sides) for _ in range(flags.rounds)]
            for side in sides[:-1]:
                say(side, sides[-1], found)


def measured_round(sides: tuple[str, ...]) -> dict[str, float]:
    """Returns the seconds of an epoch of each side, measured one after the other."""
    seconds = {side: epoch_seconds(side) for side in sides}
    print("  " + ", ".join(f"{side} {1e3 * s:.0f} ms" for side, s in seconds.items()), flush=True)
    return seconds


def say(slow: str, fast: str, found: list[dict[str, float]]) -> None:
    """Prints the ratio of the times of two sides, and its range over the rounds."""
    ratios = [seconds[slow] / seconds[fast] for seconds in found]
    low, high = interval(ratios)
    print(f"{slow} / {fast}: median {statistics.median(ratios):.3f} of {len(ratios)}", end=" ")
    print(f"({', '.join(f'{r:.2f}' for r in sorted(ratios))}), 95 % {low:.2f} to {high:.2f};", end=" ")
    print(f"an epoch {1e3 * statistics.median(s[fast] for s in found):.0f} ms", flush=True)


def epoch_seconds(side: str) -> float:
    """Returns the seconds of an epoch of one side, in a process of its own."""
    environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # the same for all sides, because tlkeras turns oneDNN off if CPU devices may be divided
    environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    command = [sys.executable, __file__, "--side", json.dumps(SIDES[side])]
    done = subprocess.run(command, capture_output=True, text=True, env=environ)
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def train(side: dict) -> float:
    """Trains one side here and returns the median seconds of its epochs."""
    from tlkeras import load_config, run_experiment
    from tlkeras.training.callbacks import StepCounter

    if side["class"] == "MirroredStrategy":
        mirror_really()
    seconds = []
    StepCounter.on_train_begin = lambda self, logs=None: seconds.append(time.perf_counter())
    StepCounter.on_epoch_end = lambda self, epoch, logs=None: seconds.append(time.perf_counter())
    settings = [
        f"data.source=synthetic:shapes?n={side.get('rows', 1600)}&size=32",
        "data.image_size=32", "data.batch_size=32", "model.backbone_options={}", "model.neck.pooling=avg",
        "data.val_fraction=0", "data.test_fraction=0", f"runtime.strategy={side['strategy']}",
        "runtime.devices=1", "tensorboard.images=false", "checkpoint.monitor=loss",
    ]  # fmt: skip
    stage = {"name": "stage", "train": side["train"], "epochs": EPOCHS}
    stage["steps_per_execution"] = side.get("steps_per_execution", 1)
    stage["augment"] = {"flip": "horizontal" if side.get("flip") else "none"}
    with tempfile.TemporaryDirectory() as folder:
        settings += [f"cache.dir={folder}/cache", f"stages={json.dumps([stage])}"]
        run = run_experiment(load_config("synthetic_smoke", settings), f"{folder}/run")
        with open(run.path / "manifest.json") as file:
            ran = json.load(file)["runtime"]["strategy_class"]
    if ran != side["class"]:
        raise SystemExit(f"This side must train under {side['class']}. Received: {ran}")
    return statistics.median(np.diff(seconds)[1:])


def mirror_really() -> None:
    """Makes tlkeras use a MirroredStrategy over one CPU device where it would use no strategy."""
    import tensorflow as tf

    # in the package, the name of the module refers to the function in it
    start = importlib.import_module("tlkeras.backend.start")
    start.make_mirrored = lambda devices: tf.distribute.MirroredStrategy(["CPU:0"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        print(train(json.loads(sys.argv[2])))
    else:
        main()

"""Compares the speed of tlkeras with that of a plain Keras script that does the same work, as ratios of
paired runs.

Command:  python benchmarks/speed.py [--case=NAME ...] [--pairs=3] [--folder=DIR]
Cases:    frozen frozen_cached frozen_xnnpack resnet second_head last2 all augment lite_all lite_augment
          growth start agreement
Time:     about two hours for all cases on two CPU cores; `--case=frozen` takes ten minutes.

Both sides read the same made-up JPEG files from disk, in processes of their own, one after the other, so that
other load on the machine affects both. Extraction and training are counted (`fit` of the plain script).
Importing, building and the check of the files are in the columns `start`. A ratio above 1 means that tlkeras
was faster. The script of `frozen`, `resnet`, `second_head` and `last2` reads its files in every epoch, as in
TensorFlow's tutorial. The script of the other cases keeps decoded pictures in memory. ImageNet weights are
used with --weights=imagenet (KERAS_HOME), and random weights otherwise.
"""

import argparse
import json
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from made_up_images import make_folder
from measuring import interval, run

BASE = {
    "backbone": "mobilenet_v2", "weights": None, "size": 160, "epochs": 10, "rows": 4000, "flip": False,
    "head": [], "train": "head", "open_from": None, "cache": {"extractor": "exact"}, "pairs": 3,
    "plain_cache": False,
}  # fmt: skip

SMALL = {"rows": 640, "epochs": 3, "pairs": 5, "plain_cache": True}
CASES = {
    "frozen": {},
    "frozen_cached": {"plain_cache": True},
    "frozen_xnnpack": {"cache": {"extractor": "tflite"}},
    "resnet": {"backbone": "resnet50", "rows": 1000},
    "second_head": {"head": [], "first_head": [256]},
    "last2": {"train": "last:2", "open_from": "block_16_expand", "rows": 2000, "epochs": 5},
    "all": {"train": "all", "open_from": "", **SMALL},
    "augment": {"flip": True, **SMALL},
    "lite_all": {"backbone": "efficientnet_lite0", "train": "all", "open_from": "", **SMALL},
    "lite_augment": {"backbone": "efficientnet_lite0", "flip": True, **SMALL},
}


def main() -> None:
    """Runs the cases and prints their table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=[*CASES, *OTHERS])
    parser.add_argument("--pairs", type=int)
    parser.add_argument("--folder", default=str(Path(tempfile.gettempdir()) / "tlkeras_speed"))
    parser.add_argument("--weights", default=None, choices=["imagenet", None])
    arguments = parser.parse_args()
    folder = Path(arguments.folder)
    for name in arguments.case or [*CASES, *OTHERS]:
        if name in OTHERS:
            OTHERS[name](folder, arguments.weights)
        else:
            options = BASE | {"weights": arguments.weights} | CASES[name]
            compare(name, options, folder, arguments.pairs or options["pairs"])


def compare(name: str, options: dict, folder: Path, pairs: int) -> None:
    """Runs both sides in turn and prints one line."""
    options = dict(options, folder=str(make_folder(folder / f"images_{options['rows']}", options["rows"])))
    options |= {"workdir": str(folder / "run"), "cache": {**options["cache"], "dir": str(folder / "cache")}}
    shutil.rmtree(folder / "cache", ignore_errors=True)
    if "first_head" in options:  # a run with another head has filled the cache before
        run("with_tlkeras.py", options | {"head": options["first_head"], "epochs": 1})
    found = []
    for _ in range(pairs):
        if "first_head" not in options:
            shutil.rmtree(folder / "cache" / "features", ignore_errors=True)
        found.append((run("plain_keras.py", options), run("with_tlkeras.py", options)))
        print(json.dumps({"case": name, "plain": found[-1][0], "tlkeras": found[-1][1]}), flush=True)
    counted = "training" if "first_head" in options else "seconds"
    ratios = [plain["seconds"] / ours[counted] for plain, ours in found]
    low, high = interval(ratios)
    row = {
        "case": name,
        "ratio (median)": round(statistics.median(ratios), 2),
        "95 % interval": f"{low:.2f} to {high:.2f}",
        "plain s": round(statistics.median(p["seconds"] for p, _ in found), 1),
        "tlkeras s": round(statistics.median(o[counted] for _, o in found), 2),
        "ratio of CPU time": round(statistics.median(p["cpu"] / o["cpu"] for p, o in found), 2),
        "plain MiB": round(max(p["memory_mb"] for p, _ in found)),
        "tlkeras MiB": round(max(o["memory_mb"] for _, o in found)),
    }
    print(" | ".join(f"{key}: {value}" for key, value in row.items()), flush=True)


def growth(folder: Path, weights) -> None:
    """Prints seconds and peak memory of a cached stage over 1k to 64k small images, and the linear fit."""
    rows, seconds, memory = [1000, 4000, 16000, 64000], [], []
    for count in rows:
        images = make_folder(folder / f"small_{count}", count, size=48)
        options = BASE | {"folder": str(images), "size": 32, "weights": None, "train": "last:2", "epochs": 2}
        options |= {"workdir": str(folder / "run"), "pixels_mb": 0}
        options["cache"] = {"extractor": "exact", "dir": str(folder / "cache"), "memory_mb": 4}
        shutil.rmtree(folder / "cache", ignore_errors=True)
        ours = run("with_tlkeras.py", options)
        seconds.append(round(ours["seconds"], 1))
        memory.append(ours["memory_mb"])
        print(json.dumps({"rows": count, "seconds": seconds[-1], "memory_mb": memory[-1]}), flush=True)
    slope, constant = np.polyfit(rows, seconds, 1)
    fitted = slope * np.asarray(rows) + constant
    residual = 1 - np.var(np.asarray(seconds) - fitted) / np.var(seconds)
    print(f"growth: {1e3 * slope:.2f} s per 1,000 rows + {constant:.1f} s, R2 {residual:.4f}, MiB {memory}")


def start(folder: Path, weights) -> None:
    """Prints the time of `import tlkeras`, and the time before the first step of a small run."""
    import subprocess
    import sys
    import time

    times = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import tlkeras"], check=True)
        bare = time.perf_counter() - began
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        times.append(bare - (time.perf_counter() - began))
    images = make_folder(folder / "images_200", 200)
    options = BASE | {"folder": str(images), "size": 96, "weights": weights, "epochs": 1}
    options |= {"workdir": str(folder / "run"), "cache": {"dir": str(folder / "cache")}}
    shutil.rmtree(folder / "cache", ignore_errors=True)
    ours = run("with_tlkeras.py", options)
    print(f"start: import tlkeras {statistics.median(times):.3f} s; first step {ours['start']:.1f} s later")


def agreement(folder: Path, weights) -> None:
    """Prints on how many test rows heads agree that were trained on features of different extractors."""
    options = BASE | {
        "weights": weights,
        "epochs": 10,
        "folder": str(make_folder(folder / "images_2000", 2000)),
    }
    options |= {"workdir": str(folder / "agreement"), "cache": {"dir": str(folder / "cache")}}
    print("agreement:", json.dumps(run("agreement.py", options)), flush=True)


OTHERS = {"growth": growth, "start": start, "agreement": agreement}


if __name__ == "__main__":
    main()

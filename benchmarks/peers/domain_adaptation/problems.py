"""Writes the problems on which the libraries for adaptation are compared, one .npz file for each seed.

Command:  python benchmarks/peers/domain_adaptation/problems.py DIR [--task=NAME ...] [--seeds=0,1,2,3,4]

`moons` and `blobs` are drawn by `benchmarks/adaptation.py`. Their target rows without labels are also those
on which the accuracy is computed, as there, but there are fewer steps. `agreement` is `moons` with 10 steps,
after which the weights are compared. `emoji` has the features of a frozen EfficientNet-Lite0 for emoji of
eight categories. The source are drawings of Twemoji, the target those of OpenMoji. No emoji of the 965 test
rows is in training.

A file also holds the order of the rows and the first weights of the network, so that all libraries begin with
the same weights and see the same rows in the same steps. DIR/settings.json has the settings of the methods.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1]))
sys.path.insert(1, str(Path(__file__).parents[2]))

from adaptation import CONSTANT, ON_BLOBS, ROWS, blobs, moons
from adaptation_runs import EMOJI_ROWS
from job import BATCH, glorot

from tlkeras.config import ModelConfig
from tlkeras.methods.adapt import METHODS
from tlkeras.models.build import build_model

STEPS = {"moons": 1000, "blobs": 1000, "agreement": 10, "emoji": 600}


def small(draw, seed: int) -> dict:
    """Returns a problem of `benchmarks/adaptation.py` with its 15 sigmoid units."""
    source, labels, target, target_labels = draw(seed)
    held = {"source": source, "labels": labels, "target": target, "test": target}
    return held | {"test_labels": target_labels, "hidden": 15, "activation": "sigmoid", "rate": 0.01}


def emoji(seed: int) -> dict:
    """Returns features of emoji, standardised on the source rows, with a hidden layer of 256 units."""
    rows = emoji_features()
    mean, deviation = rows["source"].mean(axis=0), rows["source"].std(axis=0) + 1e-6
    held = {name: (rows[name] - mean) / deviation for name in ("source", "target", "test")}
    held |= {name: rows[name] for name in ("labels", "test_labels")}
    return held | {"hidden": 256, "activation": "relu", "rate": 0.001}


@cache
def emoji_features() -> dict[str, np.ndarray]:
    """Returns pooled features of EfficientNet-Lite0 at 64 px with its ImageNet weights, and the classes."""
    from tasks import SIZE
    from tasks import emoji as drawn

    network = build_model(
        ModelConfig(backbone="efficientnet_lite0"), input_shape=(SIZE, SIZE, 3), num_outputs=8, seed=0
    )
    found = {}
    for style, parts in (
        ("twemoji", ("train", "val")),
        ("openmoji", ("train", "val")),
        ("openmoji", ("test",)),
    ):
        rows = [(y, x.resize((SIZE, SIZE))) for split, y, x in drawn(style, draw=0) if split in parts]
        pixels = np.stack([np.asarray(picture, "float32") for _, picture in rows])
        batches = np.array_split(pixels, len(pixels) // 32)
        features = np.concatenate([np.asarray(network.features(x, training=False)) for x in batches])
        found[style, parts] = features, np.unique([label for label, _ in rows], return_inverse=True)[1]
    (source, labels), (target, _), (test, test_labels) = found.values()
    rows = {"source": source, "target": target, "test": test}
    return rows | {"labels": labels, "test_labels": test_labels}


TASKS = {
    "moons": lambda seed: small(moons, seed),
    "blobs": lambda seed: small(blobs, seed),
    "agreement": lambda seed: small(moons, seed),
    "emoji": emoji,
}


def write(task: str, seed: int, file: Path) -> None:
    """Writes the problem of a seed."""
    held = TASKS[task](seed)
    hidden, steps = held.pop("hidden"), STEPS[task]
    rng = np.random.default_rng([seed, 7])
    held["order"], held["target_order"] = (passes(len(held[n]), steps, rng) for n in ("source", "target"))
    classes = int(np.max(held["labels"])) + 1
    widths = [(held["source"].shape[1], hidden), (hidden, classes)]
    for index, (inputs, outputs) in enumerate(widths):
        held[f"first_{2 * index}"] = glorot(rng, inputs, outputs)
        held[f"first_{2 * index + 1}"] = np.zeros(outputs, "float32")
    for name in ("source", "target", "test"):
        held[name] = np.asarray(held[name], "float32")
    np.savez_compressed(file, task=task, seed=seed, **held)


def passes(rows: int, steps: int, rng) -> np.ndarray:
    """Returns the row numbers of all steps: passes over all rows, each in its own order."""
    count = steps * BATCH
    order = [rng.permutation(rows) for _ in range(-(-count // rows))]
    return np.concatenate(order)[:count].astype("int32")


def settings(task: str) -> dict[str, dict]:
    """Returns the settings of the methods of a task in `benchmarks/adaptation.py`, as fields of `Setting`.

    The adversarial classifier of `mdd` is linear, because that of adapt is a copy of the classifier.
    """
    found = {}
    for name in METHODS.names():
        if task == "emoji":
            weight, options = EMOJI_ROWS.get(name, (0.3, {}))
            found[name] = {"weight": weight, "units": () if name == "mdd" else options.get("units", ())}
            continue
        weight, strength, options = (ON_BLOBS if task == "blobs" else ROWS).get(name, (1.0, CONSTANT, {}))
        found[name] = {"weight": weight, "strength": strength.value, "start": strength.start}
        found[name]["units"] = () if name == "mdd" else options.get("units", ())
    return found


def main() -> None:
    """Writes the files that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", action="append", choices=list(TASKS))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    held = json.dumps({task: settings(task) for task in TASKS}, indent=1)
    (given.folder / "settings.json").write_text(held + "\n", encoding="utf-8")
    for task in given.task or TASKS:
        for seed in map(int, given.seeds.split(",")):
            file = given.folder / f"{task}_{seed}.npz"
            if not file.exists():
                write(task, seed, file)
                print(file, flush=True)


if __name__ == "__main__":
    main()

"""Adapts finished source-only models without source data: `python benchmarks/source_free.py [SECTION ...]`.

The sections are `moons`, `blobs` (the problems of `adaptation.py`, with BatchNormalization in the network)
and `emoji` (Twemoji to OpenMoji, whole runs and `tlkeras.adapt`). Each prints one table over five seeds.
"""

import contextlib
import io
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from adaptation import BATCH, SEEDS, STEPS, blobs, moons, paired

import tlkeras
from tlkeras import load_config, run_experiment
from tlkeras.config import HeadConfig, ModelConfig
from tlkeras.methods.adapt.configured import adaptation_model
from tlkeras.methods.adapt.source_free import WAYS, TargetRows
from tlkeras.models.build import build_model

EPOCHS = {"tent": 10, "shot": 15}  # of 300 rows; with one epoch TENT takes nine steps


def source_model(seed: int, source, labels) -> keras.Model:
    """Returns a network of 15 sigmoid units with BatchNormalization that is trained on the source."""
    config = ModelConfig(
        backbone="mlp",
        weights=None,
        backbone_options={"units": (15,), "activation": "sigmoid", "batch_norm": True},
        head=HeadConfig(name="linear"),
    )
    model = build_model(config, input_shape=(2,), num_outputs=2, seed=seed)
    model.select("all", bn="train")
    training = adaptation_model(model, "none", steps=STEPS, seed=seed)
    training.compile(
        optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.99),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=500,
    )
    data = paired(source, labels, source, 0, seed).map(lambda x, y: ((x, y), x))
    training.fit(data, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    return model.to_functional()


def target_rows(target, seed: int) -> TargetRows:
    """Returns the rows of a target in batches."""
    steps = len(target) // BATCH

    def shuffled(epoch: int):
        order = np.random.default_rng([seed, epoch]).permutation(len(target))
        for indices in np.split(order[: steps * BATCH], steps):
            yield tf.constant(target[indices]), indices

    return TargetRows(lambda: iter([tf.constant(target)]), shuffled, steps)


def on_vectors(problem: Callable) -> dict[str, list[float]]:
    """Returns the target accuracies of all seeds by method, with those of the unadapted models."""
    found = {name: [] for name in ("source only", *WAYS.names())}
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        source, labels, target, target_labels = problem(seed)
        source, target = source.astype("float32"), target.astype("float32")
        model = source_model(seed, source, labels)
        start = model.get_weights()
        found["source only"].append(accuracy(model, target, target_labels))
        for name in WAYS.names():
            model.set_weights(start)
            way = WAYS.get(name)(**({"epochs": EPOCHS[name]} if name in EPOCHS else {}))
            way.adapt(model, target_rows(target, seed), lambda epoch, loss: None)
            found[name].append(accuracy(model, target, target_labels))
    return found


def accuracy(model: keras.Model, x, labels) -> float:
    """Returns the accuracy of a model."""
    return float((model(x).numpy().argmax(axis=1) == labels).mean())


def on_emoji() -> dict[str, list[float]]:
    """Returns the target test accuracies of all seeds by method. `WORKDIR` names a folder for the runs."""
    folder = Path(os.environ.get("WORKDIR") or tempfile.mkdtemp())
    found = {name: [] for name in ("source only", *WAYS.names())}
    for name in ("source only", *WAYS.names()):
        for seed in SEEDS:
            with contextlib.redirect_stdout(io.StringIO()):
                run = source_run(folder / f"source_{seed}", seed)
                if name != "source only":
                    run = tlkeras.adapt(run.path, "emoji:openmoji", name)
            found[name].append(run.metrics["target"]["test"]["accuracy"])
            verdict = (run.verdict or {}).get("verdict", "")
            print(f"{name}, seed {seed}: {found[name][-1]:.3f} {verdict}", file=sys.stderr, flush=True)
    return found


def source_run(path: Path, seed: int):
    """Returns the source-only run of `quickstart_dann` with a seed."""
    words = [f"seed={seed}", "adaptation.method=none", "adaptation.options={}", "adaptation.twin=false"]
    return run_experiment(load_config("quickstart_dann", words), path)


def table(title: str, found: dict[str, list[float]]) -> None:
    """Prints accuracies and gains over the source-only model."""
    print(f"\n| {title} | target, mean | median | gain, mean | sd | seeds better | each gain |")
    print("|---|---|---|---|---|---|---|")
    twins = found["source only"]
    for name, values in found.items():
        gains = [value - twin for value, twin in zip(values, twins, strict=True)]
        shown = (
            f"{statistics.mean(values):.3f} | {statistics.median(values):.3f} | "
            f"{statistics.mean(gains):+.3f} | {statistics.stdev(gains):.3f} | {sum(g > 0 for g in gains)}"
        )
        print(f"| {name} | {shown} | {' '.join(f'{gain:+.3f}' for gain in gains)} |", flush=True)


SECTIONS = {
    "moons": lambda: table("moons", on_vectors(moons)),
    "blobs": lambda: table("blobs", on_vectors(blobs)),
    "emoji": lambda: table("Twemoji to OpenMoji", on_emoji()),
}

if __name__ == "__main__":
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()

"""Compares the time of a step of DANN on the digit network with a source-only step and with adapt's DANN.

    ADAPT_PYTHON=ENV/bin/python python benchmarks/adaptation.py speed

`ADAPT_PYTHON` is the Python of an environment with adapt 0.4.5; see `adapt_dann_step.py`. Without it, adapt
is left out. The sides take turns, so that a machine that becomes slower affects all of them in the same way.
A ratio is the median over the rounds. All sides train on the same number of rows, which are sliced from
arrays and batched again.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config import HeadConfig, ModelConfig, NeckConfig
from tlkeras.methods.adapt.configured import adaptation_model
from tlkeras.models.build import build_model

BATCH, STEPS, ROUNDS = 32, 100, 9


def digit_network():
    """Returns the network of figure 4a of Ganin et al. (2016)."""
    config = ModelConfig(
        backbone="dann_digits",
        weights=None,
        neck=NeckConfig(pooling="flatten"),
        head=HeadConfig(name="mlp", units=(100, 100)),
    )
    model = build_model(config, input_shape=(28, 28, 3), num_outputs=10)
    model.select("all", bn="train")
    return model


def contestants(per_call: int) -> dict:
    """Returns functions that train for `STEPS` steps, by name."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, STEPS * BATCH, 28, 28, 3)).astype("float32")
    y = rng.integers(0, 10, STEPS * BATCH).astype("int32")
    plain = _batches((x[0], y))
    both = _batches(((x[0], y), x[1]))
    dann = adaptation_model(digit_network(), "dann", steps=STEPS * ROUNDS, options={"units": (100,)})
    found = {
        "source only": _fitting(digit_network(), plain, per_call),
        "DANN": _fitting(dann, both, per_call),
    }
    if peer := os.environ.get("ADAPT_PYTHON"):
        found["adapt"] = _peer(peer, per_call)
    return found


def _batches(arrays) -> tf.data.Dataset:
    """Returns batches of rows from arrays, as in adapt. They are prefetched, as in tlkeras' own pipelines."""
    data = tf.data.Dataset.from_tensor_slices(arrays).batch(BATCH, drop_remainder=True)
    return data.prefetch(tf.data.AUTOTUNE)


def _fitting(model, data, per_call: int):
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=per_call,
    )

    def fit() -> float:
        begin = time.perf_counter()
        model.fit(data, verbose=0, shuffle=False)
        return (time.perf_counter() - begin) / STEPS

    return fit


def _peer(python: str, per_call: int):
    script = Path(__file__).with_name("adapt_dann_step.py")
    options = json.dumps({"batch": BATCH, "steps": STEPS, "per_call": per_call})
    process = subprocess.Popen(
        [python, str(script), options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def fit() -> float:
        process.stdin.write("fit\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    return fit


def speed() -> None:
    """Prints the milliseconds per step, including Keras' `fit`, with one step per call and with fifty."""
    print("\n| steps per call | source only | DANN | adapt | DANN / source only | DANN / adapt |")
    print("|---|---|---|---|---|---|")
    for per_call in (1, 50):
        found = contestants(per_call)
        times = {name: [] for name in found}
        for number in range(ROUNDS + 2):
            for name, fit in found.items():
                seconds = fit()
                if number >= 2:  # the first two trace and warm up
                    times[name].append(seconds)
        print(f"| {per_call} | {_row(times)} |", flush=True)


def _row(times: dict[str, list[float]]) -> str:
    cells = [f"{1e3 * statistics.median(times[name]):.2f} ms" for name in ("source only", "DANN")]
    cells.append(f"{1e3 * statistics.median(times['adapt']):.2f} ms" if "adapt" in times else "-")
    for other in ("source only", "adapt"):
        if other not in times:
            cells.append("-")
            continue
        ratios = [dann / peer for dann, peer in zip(times["DANN"], times[other], strict=True)]
        cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return " | ".join(cells)


if __name__ == "__main__":
    sys.exit(speed())

"""Every adaptation method beside its source-only twin: `python benchmarks/adaptation.py [SECTION ...]`.

Prints one table per section. `moons` and `blobs` take a few minutes each on two cores; `speed` compares
one training step of DANN with a source-only step on the digit network of Ganin et al. (2016). Each section
is a function of no arguments that prints its table; add one to SECTIONS for another data set.
"""

import contextlib
import io
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tlkeras import load_config, run_experiment
from tlkeras.adaptation.adaptation_model import AdaptationModel
from tlkeras.adaptation.methods import METHODS, make_method
from tlkeras.config import HeadConfig, ModelConfig, NeckConfig, StrengthConfig
from tlkeras.evaluation import compute_metrics
from tlkeras.evaluation.evaluate import predict_split
from tlkeras.models.build import build_model
from tlkeras.prepare import checked, prepare
from tlkeras.run_dir import RunDir
from tlkeras.training.trainer import Trainer

SEEDS = range(5)
STEPS, BATCH = 3000, 32
CONSTANT = StrengthConfig(schedule="constant")
ADVERSARIAL = {"units": (32, 32)}
# what differs from the defaults on two input dimensions: weight, strength and settings
ROWS: dict[str, tuple[float, StrengthConfig, dict]] = {
    "dann": (1.0, StrengthConfig(schedule="constant", value=6), {"units": (32, 32)}),
    "cdan": (1.0, CONSTANT, ADVERSARIAL),
    "cdan_e": (1.0, CONSTANT, ADVERSARIAL),
    "pada": (1.0, CONSTANT, ADVERSARIAL),
    "adda": (0.1, StrengthConfig(schedule="warm_start", start=0.5), ADVERSARIAL),
    "wasserstein": (1.0, CONSTANT, {"units": (32,)}),
    "mdd": (1.0, CONSTANT, {"units": (15,)}),
    "deep_coral": (100.0, CONSTANT, {}),
    "afn": (0.05, CONSTANT, {}),
}

# on deep features: losses on another scale than cross-entropy want another weight
EMOJI_ROWS: dict[str, tuple[float, None, dict]] = {
    "dann": (0.3, None, {"units": (256,)}),
    "cdan": (0.3, None, {"units": (256,)}),
    "cdan_e": (0.3, None, {"units": (256,)}),
    "pada": (0.3, None, {"units": (256,)}),
    "wasserstein": (0.1, None, {}),
    "afn": (0.05, None, {}),
}


def moons(seed: int):
    """Ganin et al. (2016), section 5.1.1: centred moons, twice as large, the target turned by 35 degrees."""
    from sklearn.datasets import make_moons

    source, labels = make_moons(300, noise=0.05, random_state=2 * seed + 1)
    target, target_labels = make_moons(300, noise=0.05, random_state=2 * seed + 2)
    centre, turn = source.mean(axis=0), np.radians(35)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return 2 * (source - centre), labels, 2 * (target - centre) @ rotation.T, target_labels


def blobs(seed: int):
    """Two blobs beside each other; shifted by (1, -1), both lie behind the source's boundary.

    x alone parts the source's classes, x + y parts those of both domains.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 2
    centres = np.array([[0.0, 0.0], [1.0, 0.0]])[labels]
    source, target = (centres + 0.2 * rng.normal(size=(300, 2)) for _ in range(2))
    return source, labels, target + np.array([1.0, -1.0]), labels


def network(seed: int):
    """15 sigmoid units, as `moons_dann` has them."""
    config = ModelConfig(
        backbone="mlp",
        weights=None,
        backbone_options={"units": (15,), "activation": "sigmoid"},
        head=HeadConfig(name="linear"),
    )
    return build_model(config, input_shape=(2,), num_outputs=2, seed=seed)


def paired(source, labels, target, views: int, seed: int) -> tf.data.Dataset:
    """Both domains reshuffled at each pass; a second view is the first plus noise."""

    def stream(arrays, shift):
        rows = tf.data.Dataset.from_tensor_slices(arrays).shuffle(300, seed=seed + shift)
        return rows.repeat().batch(BATCH, drop_remainder=True)

    data = tf.data.Dataset.zip((stream((source, labels), 0), stream(target, 1)))
    if views == 2:
        data = data.map(lambda s, t: (s, (t, t + tf.random.normal(t.shape, stddev=0.3, seed=seed))))
    return data


def accuracies(problem: Callable, name: str, seed: int) -> tuple[float, float]:
    """Returns accuracy on source and target after training with the method called `name`."""
    keras.utils.set_random_seed(seed)
    source, labels, target, target_labels = problem(seed)
    source, target = source.astype("float32"), target.astype("float32")
    weight, strength, options = ROWS.get(name, (1.0, CONSTANT, {}))
    method = make_method(name, options)
    model = network(seed)
    model.select("all", bn="train")
    adaptation = AdaptationModel(model, method, steps=STEPS, weight=weight, strength=strength, seed=seed)
    adaptation.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=500,
    )
    data = paired(source, labels, target, method.target_views, seed)
    adaptation.fit(data, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    predicted = [model(x).numpy().argmax(axis=1) for x in (source, target)]
    return float((predicted[0] == labels).mean()), float((predicted[1] == target_labels).mean())


def method_table(title: str, problem: Callable) -> None:
    """Prints the median over seeds of every method, beside source-only training."""
    print(f"\n| {title}, {len(SEEDS)} seeds | source | target | gain | seeds better | target, all |")
    print("|---|---|---|---|---|---|")
    twins = [accuracies(problem, "none", seed) for seed in SEEDS]
    for name in ["none", *(n for n in METHODS.names() if n != "none")]:
        runs = twins if name == "none" else [accuracies(problem, name, seed) for seed in SEEDS]
        source, target = (statistics.median(x) for x in zip(*runs, strict=True))
        gains = [run[1] - twin[1] for run, twin in zip(runs, twins, strict=True)]
        better = sum(gain > 0 for gain in gains)
        every = " ".join(f"{run[1]:.2f}" for run in runs)
        label = "source only" if name == "none" else name
        row = f"{source:.3f} | {target:.3f} | {statistics.median(gains):+.3f} | {better} | {every}"
        print(f"| {label} | {row} |", flush=True)


def digit_network():
    """Figure 4a of Ganin et al. (2016)."""
    config = ModelConfig(
        backbone="dann_digits",
        weights=None,
        neck=NeckConfig(pooling="flatten"),
        head=HeadConfig(name="mlp", units=(100, 100)),
    )
    model = build_model(config, input_shape=(28, 28, 3), num_outputs=10)
    model.select("all", bn="train")
    return model


def seconds_per_step(model, data, steps: int = 100) -> float:
    """Returns the best of five timings, after warm-up."""
    model.compile(
        optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=steps,
    )
    timings = []
    for _ in range(6):
        begin = time.perf_counter()
        model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False)
        timings.append((time.perf_counter() - begin) / steps)
    return min(timings[1:])


def emoji() -> None:
    """Prints every method on Twemoji -> OpenMoji: the frozen backbone, a bottleneck of 256, three seeds."""
    print("\n| Twemoji to OpenMoji, 3 seeds | target, mean | gain over the twin, mean | sd | gains |")
    print("|---|---|---|---|---|")
    twins = [trained_on_emoji("none", seed) for seed in range(3)]
    for name in ["none", *(n for n in METHODS.names() if n != "none")]:
        runs = twins if name == "none" else [trained_on_emoji(name, seed) for seed in range(3)]
        gains = [run - twin for run, twin in zip(runs, twins, strict=True)]
        every = " ".join(f"{gain:+.3f}" for gain in gains)
        label = "source only" if name == "none" else name
        row = f"{statistics.mean(runs):.3f} | {statistics.mean(gains):+.3f} | {statistics.stdev(gains):.3f}"
        print(f"| {label} | {row} | {every} |", flush=True)


def trained_on_emoji(method: str, seed: int) -> float:
    """Returns target test accuracy of `quickstart_dann` with another method, at that method's defaults."""
    weight, _, options = EMOJI_ROWS.get(method, (0.3, None, {}))
    config = load_config("quickstart_dann", [f"seed={seed}", "adaptation.twin=false"])
    adaptation = config.adaptation.model_copy(update={"method": method, "weight": weight, "options": options})
    parts = prepare(checked(config.model_copy(update={"adaptation": adaptation})))
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(io.StringIO()):
        trainer = Trainer(parts, RunDir(workdir))
        trainer.train()
        predictions = predict_split(parts.model, parts.domains["target"], "test", parts.batch_size)
    return compute_metrics(predictions)["accuracy"]


def mnist_m() -> None:
    """Prints DANN and its twin on MNIST -> MNIST-M; MNIST_NPZ names an .npz of MNIST, else TFDS is asked."""
    found = [on_digits(seed, os.environ.get("MNIST_NPZ")) for seed in range(3)]
    print("\n| MNIST to MNIST-M | source only | DANN | gain | verdict |\n|---|---|---|---|---|")
    for seed, v in enumerate(found):
        print(f"| seed {seed} | {v['baseline']:.3f} | {v['run']:.3f} | {v['gain']:+.3f} | {v['verdict']} |")


def on_digits(seed: int, file: str | None) -> dict:
    """Returns the verdict of one run of `mnist_mnistm_dann`."""
    settings = [f"seed={seed}"]
    if file:
        settings += [f"data.source=npz:{file}", f"adaptation.target.source=mnist_m:npz:{file}"]
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(io.StringIO()):
        run = run_experiment(load_config("mnist_mnistm_dann", settings), workdir + "/run")
        return run.run_dir.read_json("evaluation/verdict.json")


def speed() -> None:
    """Prints the time of a step with and without DANN; both include Keras' fit."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 255, (2, BATCH, 28, 28, 3)).astype("float32")
    y = rng.integers(0, 10, BATCH).astype("int32")
    plain = tf.data.Dataset.from_tensors((x[0], y)).repeat()
    both = tf.data.Dataset.from_tensors(((x[0], y), x[1])).repeat()
    source_only = seconds_per_step(digit_network(), plain)
    dann = AdaptationModel(digit_network(), "dann", steps=600, options={"units": (100,)})
    adapted = seconds_per_step(dann, both)
    print(f"\nsource only {1e3 * source_only:.2f} ms, DANN {1e3 * adapted:.2f} ms a step:", end=" ")
    print(f"{adapted / source_only:.2f} times")


SECTIONS = {
    "moons": lambda: method_table("moons", moons),
    "blobs": lambda: method_table("blobs", blobs),
    "speed": speed,
    "emoji": emoji,
    "mnist_m": mnist_m,
}

if __name__ == "__main__":
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()

"""Compares every adaptation method with source-only training: `python benchmarks/adaptation.py [SECTION
...]`.

The script prints one table per section. `moons` and `blobs` are in this file and take a few minutes each on
two cores. Whole runs on pictures (`emoji`, `mnist_m`, `digits`, `fashion`, `partial`) are in
`adaptation_runs.py`, and the time of a step (`speed`) is in `adaptation_speed.py`. `METHODS=dann,cdan`
selects methods. Each section is a function without arguments that prints its table. For another data set, add
a function to SECTIONS.
"""

import statistics
import sys
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from adaptation_runs import chosen_methods, digits, emoji, fashion, mnist_m, partial
from adaptation_speed import speed

from tlkeras.config import HeadConfig, ModelConfig, StrengthConfig
from tlkeras.methods.adapt import make_method
from tlkeras.methods.adapt.configured import adaptation_model
from tlkeras.methods.adapt.reweighting import Reweighting
from tlkeras.models.build import build_model

SEEDS = range(5)
STEPS, BATCH = 3000, 32
CONSTANT = StrengthConfig(schedule="constant")
ADVERSARIAL = {"units": (32, 32)}
# settings that differ from the defaults on two input dimensions: weight, strength, options
ROWS: dict[str, tuple[float, StrengthConfig, dict]] = {
    "dann": (1.0, StrengthConfig(schedule="constant", value=6), {"units": (32, 32)}),
    "cdan": (1.0, CONSTANT, ADVERSARIAL),
    "cdan_e": (1.0, CONSTANT, ADVERSARIAL),
    "pada": (1.0, StrengthConfig(schedule="constant", value=6), ADVERSARIAL),
    "adda": (0.1, StrengthConfig(schedule="warm_start", start=0.5), ADVERSARIAL),
    "wasserstein": (1.0, CONSTANT, {"units": (32,)}),
    "mdd": (1.0, CONSTANT, {"units": (15,)}),
    "deep_coral": (100.0, CONSTANT, {}),
    "afn": (0.05, CONSTANT, {}),
}

# a line separates the shifted domains; hidden layers make the domain classifier too strong
LINEAR = (1.0, StrengthConfig(schedule="constant", value=6), {"units": ()})
ON_BLOBS = ROWS | dict.fromkeys(("dann", "cdan", "cdan_e", "pada"), LINEAR)


def moons(seed: int):
    """Returns the data of Ganin et al. (2016), section 5.1.1: centred moons of twice the size, with the
    target turned by 35 degrees.
    """
    from sklearn.datasets import make_moons

    source, labels = make_moons(300, noise=0.05, random_state=2 * seed + 1)
    target, target_labels = make_moons(300, noise=0.05, random_state=2 * seed + 2)
    centre, turn = source.mean(axis=0), np.radians(35)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return 2 * (source - centre), labels, 2 * (target - centre) @ rotation.T, target_labels


def blobs(seed: int):
    """Returns two blobs next to each other. Shifted by (1, -1), both are beyond the source's decision
    boundary.

    The first coordinate alone separates the classes of the source. The sum of both coordinates separates the
    classes of both domains.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 2
    centres = np.array([[0.0, 0.0], [1.0, 0.0]])[labels]
    source, target = (centres + 0.2 * rng.normal(size=(300, 2)) for _ in range(2))
    return source, labels, target + np.array([1.0, -1.0]), labels


def network(seed: int):
    """Returns a network of 15 sigmoid units, as in `moons_dann`."""
    config = ModelConfig(
        backbone="mlp",
        weights=None,
        backbone_options={"units": (15,), "activation": "sigmoid"},
        head=HeadConfig(name="linear"),
    )
    return build_model(config, input_shape=(2,), num_outputs=2, seed=seed)


def paired(source, labels, target, views: int, seed: int, weights=None) -> tf.data.Dataset:
    """Returns batches of both domains, which are shuffled again in each pass. A second view is the first one
    with noise. Without views, the batches are those of the source alone, with the weights of their rows.
    """

    def stream(arrays, shift):
        rows = tf.data.Dataset.from_tensor_slices(arrays).shuffle(300, seed=seed + shift)
        return rows.repeat().batch(BATCH, drop_remainder=True)

    labelled = (source, labels) if weights is None else (source, labels, weights)
    data = tf.data.Dataset.zip((stream(labelled, 0), stream(target, 1)))
    if views == 0:
        return data.map(lambda labelled, target: labelled)
    if views == 2:
        data = data.map(lambda s, t: (s, (t, t + tf.random.normal(t.shape, stddev=0.3, seed=seed))))
    return data


def accuracies(problem: Callable, name: str, seed: int) -> tuple[float, float]:
    """Returns the accuracy on source and target after training with the method called `name`."""
    keras.utils.set_random_seed(seed)
    source, labels, target, target_labels = problem(seed)
    source, target = source.astype("float32"), target.astype("float32")
    settings = ON_BLOBS if problem is blobs else ROWS
    weight, strength, options = settings.get(name, (1.0, CONSTANT, {}))
    method = make_method(name, options)
    model = network(seed)
    model.select("all", bn="train")
    adaptation = adaptation_model(model, method, steps=STEPS, weight=weight, strength=strength, seed=seed)
    adaptation.compile(
        # adversarial training oscillates, so the weights are averaged over some hundred steps
        optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.99),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=500,
    )
    weights = method.weights(source, target, seed) if isinstance(method, Reweighting) else None
    data = paired(source, labels, target, method.target_views, seed, weights)
    adaptation.fit(data, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    predicted = [model(x).numpy().argmax(axis=1) for x in (source, target)]
    return float((predicted[0] == labels).mean()), float((predicted[1] == target_labels).mean())


def method_table(title: str, problem: Callable) -> None:
    """Prints the median over seeds of every method, next to source-only training."""
    print(f"\n| {title}, {len(SEEDS)} seeds | source | target | gain | seeds better | target, all |")
    print("|---|---|---|---|---|---|")
    twins = [accuracies(problem, "none", seed) for seed in SEEDS]
    for name in ["none", *chosen_methods()]:
        runs = twins if name == "none" else [accuracies(problem, name, seed) for seed in SEEDS]
        source, target = (statistics.median(x) for x in zip(*runs, strict=True))
        gains = [run[1] - twin[1] for run, twin in zip(runs, twins, strict=True)]
        better = sum(gain > 0 for gain in gains)
        every = " ".join(f"{run[1]:.2f}" for run in runs)
        label = "source only" if name == "none" else name
        row = f"{source:.3f} | {target:.3f} | {statistics.median(gains):+.3f} | {better} | {every}"
        print(f"| {label} | {row} |", flush=True)


SECTIONS = {
    "moons": lambda: method_table("moons", moons),
    "blobs": lambda: method_table("blobs", blobs),
    "speed": speed,
    "mnist_m": mnist_m,
    "digits": digits,
    "fashion": fashion,
    "partial": partial,
    "emoji": emoji,
}

if __name__ == "__main__":
    for section in sys.argv[1:] or SECTIONS:
        SECTIONS[section]()

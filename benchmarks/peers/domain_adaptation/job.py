"""What every script of a library receives, and the line that it prints for each run.

A script trains on files of `problems.py`. It uses the labels of the target only for the accuracy after the
training. By hand: `echo '{"file": "moons_0.npz", "method": "dann", "own": true}' | python train.py`.
"""

import importlib.metadata
import itertools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

BATCH, EPSILON, MOMENTUM = 32, 1e-7, 0.99  # rows of a domain, Adam, average of the weights


@dataclass(frozen=True)
class Setting:
    """How a method is set in all libraries, in the terms of tlkeras.

    Attributes:
        weight: Factor of the term, whose domain loss is the mean over the rows of both domains.
        strength: Further factor of the reversed gradient, or of the term.
        units: Widths of the hidden layers of the domain classifier or critic.
        start: Share of the steps that train the source model first, for methods with two phases.
        own: Whether the library's own defaults are used instead of all this.
    """

    weight: float = 1.0
    strength: float = 1.0
    units: tuple[int, ...] = ()
    start: float = 0.5
    own: bool = False

    @property
    def name(self) -> str:
        """Name in the results."""
        return "default" if self.own else "shared"

    @property
    def of_sum(self) -> float:
        """The factor in libraries whose domain loss is the sum of the means of both domains."""
        return self.weight * self.strength / 2


class Problem:
    """One file: rows of both domains, the order of the rows, and the first weights of the network.

    Attributes:
        source, labels: Source rows float32 `(n, d)` and their classes `(n,)`.
        target, target_labels: Target rows float32 `(m, d)`, and their classes `(m,)` for the accuracy.
        test, test_labels: Target rows for the accuracy. They are those of training if the problem has no
            others.
        classes: Number of classes.
        activation: Activation of the hidden layer, `sigmoid` or `relu`.
        first: First weights: kernel `(d, hidden)` and bias, kernel `(hidden, classes)` and bias.
        steps: Number of training steps.
        rate: Learning rate of Adam.
        task, seed: Name and seed of the problem.
    """

    def __init__(self, file: Path):
        with np.load(file) as found:
            held = dict(found)
        self.source, self.target, self.test = (held[n] for n in ("source", "target", "test"))
        self.labels, self.test_labels = held["labels"], held["test_labels"]
        self.first = [held[f"first_{i}"] for i in range(4)]
        self.order, self.target_order = held["order"], held["target_order"]
        self.task, self.seed = str(held["task"]), int(held["seed"])
        self.activation, self.steps = str(held["activation"]), len(self.order) // BATCH
        self.rate = float(held["rate"])
        self.classes = self.first[3].shape[0]

    @property
    def hidden(self) -> int:
        """Width of the hidden layer, whose outputs are the features."""
        return self.first[1].shape[0]

    def stream(self, steps: int | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns source rows, labels and target rows of all steps, or of the first `steps`, in order."""
        end = None if steps is None else steps * BATCH
        of_source, of_target = self.order[:end], self.target_order[:end]
        return self.source[of_source], self.labels[of_source], self.target[of_target]

    @cached_property
    def standardised(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and target rows, standardised together, for importance weights."""
        both = np.concatenate([self.source, self.target]).astype(np.float64)
        mean, deviation = both.mean(axis=0), np.maximum(both.std(axis=0), 1e-12)
        return (self.source - mean) / deviation, (self.target - mean) / deviation

    @cached_property
    def gamma(self) -> float:
        """One over the median squared distance of the standardised rows: the kernel of tlkeras' `kmm`."""
        rows = np.concatenate(self.standardised)
        distances = ((rows[:, None] - rows[None]) ** 2).sum(axis=2)
        return float(1 / np.median(distances[np.triu_indices(len(rows), 1)]))

    def head(
        self, inputs: int, units: tuple[int, ...], outputs: int = 1, number: int = 0
    ) -> list[np.ndarray]:
        """Returns the first weights of a classifier or critic of the method: kernels and biases in turn.

        Args:
            inputs: Number of inputs.
            units: Widths of the hidden layers.
            outputs: Number of outputs.
            number: Number of the head, if the method has several.
        """
        rng, widths = np.random.default_rng([self.seed, 8, number]), [inputs, *units, outputs]
        found = []
        for before, after in itertools.pairwise(widths):
            found += [glorot(rng, before, after), np.zeros(after, "float32")]
        return found

    @property
    def gammas(self) -> list[float]:
        """The candidates among which tlkeras' `kliep` chooses."""
        return [float(one) for one in np.geomspace(0.03, 30, 7) * self.gamma]

    def accuracy(self, logits: Callable) -> dict[str, float]:
        """Returns the accuracies on source and target of a function from rows to logits."""
        rows = {"source": (self.source, self.labels), "target": (self.test, self.test_labels)}
        return {
            name: round(float((np.argmax(logits(x), axis=1) == y).mean()), 4) for name, (x, y) in rows.items()
        }


def glorot(rng, inputs: int, outputs: int) -> np.ndarray:
    """Returns a kernel `(inputs, outputs)` from Glorot's uniform distribution, the default of Keras."""
    limit = np.sqrt(6 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs)).astype("float32")


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Attributes:
        logits: Function from rows `(n, d)` to logits of the averaged weights.
        last: The same for the weights of the last step.
        weights: The weights of the last step in the form of `Problem.first`.
        cpu_seconds: CPU time of the training alone, with the tracing of its functions.
        steps: Number of updates.
    """

    logits: Callable
    last: Callable
    weights: list[np.ndarray]
    cpu_seconds: float
    steps: int


class Stopwatch:
    """Context that measures the CPU time of this process in seconds."""

    seconds = 0.0

    def __enter__(self):
        self._began = time.process_time()
        return self

    def __exit__(self, *error):
        self.seconds += time.process_time() - self._began


def main(library: str, methods: dict[str, Callable[[Problem, Setting], Trained]], packages) -> None:
    """Trains for each line of the input and prints a line of JSON for it.

    A line is an object with `file`, `method` and the fields of `Setting`. One process trains many times, so
    that the imports are paid once.

    Args:
        library: Name of the library in the results.
        methods: Functions that train, by name of the method.
        packages: Packages whose versions are printed.
    """
    versions = {name: importlib.metadata.version(name) for name in packages}
    for line in sys.stdin:
        words = json.loads(line)
        problem, method = Problem(Path(words.pop("file"))), words.pop("method")
        setting = Setting(**words | {"units": tuple(words.get("units", ()))})
        trained = methods[method](problem, setting)
        found = {"library": library, "task": problem.task, "seed": problem.seed, "method": method}
        found |= {"setting": setting.name} | problem.accuracy(trained.logits)
        found |= {"target_last": problem.accuracy(trained.last)["target"], "steps": trained.steps}
        found |= {"cpu_seconds": round(trained.cpu_seconds, 3), "versions": versions}
        if problem.task == "agreement":
            found["weights"] = [round(float(value), 7) for part in trained.weights for value in part.flat]
        print(json.dumps(found), flush=True)

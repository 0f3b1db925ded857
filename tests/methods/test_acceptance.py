"""DANN on problems where it must work, and the same checks on a DANN that cannot."""

import statistics
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
from small_problems import batches, moons, sigmoid_network
from variants import further

from tlkeras.config.adaptation import StrengthConfig
from tlkeras.methods.adapt.configured import adaptation_model

SEEDS = range(7)


def blobs(seed):
    """x alone parts the source's classes, x + y parts those of both domains."""
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 2
    centres = np.array([[0.0, 0.0], [1.0, 0.0]])[labels]
    source, target = (centres + 0.2 * rng.normal(size=(300, 2)) for _ in range(2))
    shifted = target + np.array([1.0, -1.0])
    return source.astype("float32"), labels, shifted.astype("float32"), labels


class Dann:
    """Trains the network on a problem with one seed after the other, by a step that is traced only once.

    The accuracies are those of weights that are averaged over some hundred steps. The two players circle each
    other, so the weights of any one step are a lottery: over 20 seeds on the blobs the lower decile of the
    target's accuracy is .69 for the last step and .80 for the average.
    """

    def __init__(self, *, strength=6.0, sign=1.0, method="dann", units=(), steps=3000):
        self.method, self.units, self.steps = method, units, steps
        self.strength = StrengthConfig(schedule="constant", value=strength)
        self.model, self.trainee = self._fresh(0)
        (term,) = self.trainee.terms
        strength_at = term.strength_at
        term.strength_at = lambda p: sign * strength_at(p)

    def _fresh(self, seed):
        """Returns a network and its training model, compiled and with the state before the first step."""
        model = sigmoid_network(seed=10 * seed)
        options = {"units": self.units} if self.method == "dann" else {}
        trainee = adaptation_model(
            model, self.method, steps=self.steps, options=options, strength=self.strength, seed=seed
        )
        trainee.compile(
            optimizer=keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.99),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=500,
        )
        trainee.optimizer.build(trainee.trainable_variables)
        return model, trainee

    def accuracies(self, problem, seed):
        """Returns the accuracies on source and target after a training from the weights of this seed."""
        source, labels, target, target_labels = problem(seed)
        _, fresh = self._fresh(seed)
        for mine, new in zip(_state(self.trainee), _state(fresh), strict=True):
            assert mine.shape == new.shape
            mine.assign(new)
        data = batches(source, target, labels, seed=seed)
        self.trainee.fit(data, steps_per_epoch=self.steps, verbose=0, shuffle=False)
        predicted = [self.model(x).numpy().argmax(axis=1) for x in (source, target)]
        return (predicted[0] == labels).mean(), (predicted[1] == target_labels).mean()


def _state(trainee):
    return [*trainee.variables, *trainee.further_variables, *trainee.optimizer.variables]


def medians(problem, seeds=SEEDS, **settings):
    dann = Dann(**settings)
    runs = [dann.accuracies(problem, seed) for seed in seeds]
    return tuple(statistics.median(x) for x in zip(*runs, strict=True))


class Problem(NamedTuple):
    """A problem, and the bounds of the median accuracies with the network above."""

    domains: Callable
    source_alone: float  # at least, without adaptation
    target_alone: tuple[float, float]  # between these, without adaptation
    source: float  # at least, with DANN
    target: float  # at least, with DANN
    flipped: float  # less than this on the target, where DANN's gradient has the wrong sign
    seeds: range = SEEDS
    seeds_without: range = SEEDS  # without adaptation, and with the wrong sign
    units: tuple[int, ...] = ()


# Without adaptation, and with the wrong sign, .500 to .523 were seen on the target in seven seeds.
BLOBS = Problem(
    blobs, source_alone=0.98, target_alone=(0.44, 0.56), source=0.95, target=0.80, flipped=0.80,
    seeds_without=range(3),
)  # fmt: skip
# Domain classifiers without a hidden layer, or with one, leave more seeds in a bad corner (medians of .85 to
# .94). With two of 32 units one seed in five still ends below .93, and which one it is depends on the order
# in which a machine sums: a median of five moved between .917 and .987, that of 25 holds still.
# With DANN .98 to .993 were seen on the source, and .96 on the target.
MOONS = Problem(
    moons, source_alone=0.99, target_alone=(0.81, 0.89), source=0.97, target=0.93, flipped=0.89,
    seeds=range(25), units=(32, 32),
)  # fmt: skip
every_problem = pytest.mark.parametrize("problem", [BLOBS, further(MOONS)], ids=["blobs", "moons"])


@every_problem
def test_the_target_needs_adaptation(problem):
    source, target = medians(problem.domains, problem.seeds_without, method="none")
    assert source >= problem.source_alone
    low, high = problem.target_alone
    assert low <= target <= high


@every_problem
def test_dann_solves_it(problem):
    source, target = medians(problem.domains, seeds=problem.seeds, units=problem.units)
    assert source >= problem.source
    assert target >= problem.target


@every_problem
def test_a_flipped_sign_does_not_solve_it(problem):
    target = medians(problem.domains, problem.seeds_without, sign=-1.0, units=problem.units)[1]
    assert target < problem.flipped

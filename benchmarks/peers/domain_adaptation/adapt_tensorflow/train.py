"""adapt (https://adapt-python.github.io/adapt): its classes on TensorFlow, without tlkeras.

Its networks are two: an encoder whose outputs are the features, and a task network. Its classifiers give
probabilities, because `CDAN`, `MDD` and `MCD` take them. It trains with `fit` on the rows in the given order.
"""

import os
import sys
import warnings
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import numpy as np
import tensorflow as tf
from adapt import feature_based
from adapt.instance_based import KLIEP, KMM
from job import BATCH, EPSILON, MOMENTUM, Problem, Setting, Stopwatch, Trained, main

layers = keras.layers


class AveragedAdam(keras.optimizers.Adam):
    """Adam with averages of the weights that `average` sets. adapt has one optimizer for each network, which
    Keras' `fit` cannot finalise.
    """

    def finalize_variable_values(self, var_list):
        pass

    def average(self):
        """Sets the weights to their averages."""
        if self.built:
            super().finalize_variable_values(self._trainable_variables)


def adam(problem: Problem) -> AveragedAdam:
    return AveragedAdam(problem.rate, epsilon=EPSILON, use_ema=True, ema_momentum=MOMENTUM)


def networks(problem: Problem) -> tuple[keras.Sequential, keras.Sequential]:
    """Returns encoder and task network with the first weights."""
    encoder = keras.Sequential([
        keras.Input(problem.source.shape[1:]), layers.Dense(problem.hidden, activation=problem.activation),
    ])  # fmt: skip
    task = keras.Sequential([
        keras.Input((problem.hidden,)), layers.Dense(problem.classes, activation="softmax"),
    ])  # fmt: skip
    encoder.set_weights(problem.first[:2])
    task.set_weights(problem.first[2:])
    return encoder, task


def classifier(problem: Problem, inputs: int, units: tuple[int, ...], activation=None) -> keras.Sequential:
    """Returns a network with one output and with the first weights of the problem."""
    hidden = [layers.Dense(width, activation="relu") for width in units]
    found = keras.Sequential([keras.Input((inputs,)), *hidden, layers.Dense(1, activation=activation)])
    found.set_weights(problem.head(inputs, units))
    return found


def with_networks(name: str, own_factor: str | None, **shared):
    """Returns a function that trains an adapt class.

    Args:
        name: Name of the class in `adapt.feature_based`.
        own_factor: What `lambda_` is with the shared setting: `sum` if the domain loss is the sum of the
            means of both domains, `factor` if the term is that of tlkeras, or None if there is no `lambda_`.
        **shared: Further arguments with both settings.
    """

    def train(problem: Problem, setting: Setting) -> Trained:
        keras.utils.set_random_seed(problem.seed)
        encoder, task = networks(problem)
        arguments = dict(shared)
        if not setting.own:
            factor = {"sum": setting.of_sum, "factor": setting.weight * setting.strength}
            arguments |= {} if own_factor is None else {"lambda_": factor[own_factor]}
        if name in ("DANN", "CDAN", "ADDA", "WDGRL") and not setting.own:
            inputs = problem.hidden * (problem.classes if name == "CDAN" else 1)
            last = None if name == "WDGRL" else "sigmoid"
            arguments["discriminator"] = classifier(problem, inputs, setting.units, last)
        return fitted(problem, getattr(feature_based, name), encoder, task, arguments, setting)

    return train


def fitted(problem: Problem, kind, encoder, task, arguments: dict, setting: Setting) -> Trained:
    """Trains an adapt model on the stream of the problem. Methods with pretraining use half of it twice."""
    phases = kind.__name__ in ("ADDA", "MCD")
    loss = keras.losses.CategoricalCrossentropy()
    if phases:
        arguments |= {"pretrain__optimizer": adam(problem), "pretrain__loss": loss}
    model = kind(
        encoder, task, copy=False, loss=loss, optimizer=adam(problem), verbose=0, random_state=problem.seed,
        steps_per_execution=min(500, problem.steps // 2), **arguments,
    )  # fmt: skip
    source, labels, target = problem.stream(round(problem.steps * setting.start) if phases else None)
    with Stopwatch() as watch:
        classes = np.eye(problem.classes, dtype="float32")[labels]
        model.fit(source, classes, target, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    network = keras.Sequential([model.encoder_, model.task_])
    last = network.get_weights()
    for optimizer in (model.optimizer, model.optimizer_enc, model.optimizer_disc):
        optimizer.average()
    return after(network, network.get_weights(), last, watch.seconds, problem.steps)


def after(network, averaged, last, seconds: float, steps: int) -> Trained:
    """Returns the trained network with its averaged and its last weights."""

    def with_weights(weights):
        def logits(x):
            network.set_weights(weights)
            return network(x).numpy()

        return logits

    return Trained(with_weights(averaged), with_weights(last), last, seconds, steps)


def source_only(problem: Problem, setting: Setting, weights=None) -> Trained:
    """Trains encoder and task network with Keras' `fit`, optionally with weights of the source rows."""
    keras.utils.set_random_seed(problem.seed)
    network = keras.Sequential(networks(problem))
    optimizer = adam(problem)
    network.compile(optimizer, "sparse_categorical_crossentropy", steps_per_execution=min(500, problem.steps))
    with Stopwatch() as watch:
        source, labels, _ = problem.stream()
        rows = None if weights is None else weights(problem).astype("float32")[problem.order]
        data = (source, labels) if rows is None else (source, labels, rows)
        batches = tf.data.Dataset.from_tensor_slices(data).batch(BATCH)
        network.fit(batches, epochs=1, verbose=0)
    last = network.get_weights()
    optimizer.average()
    return after(network, network.get_weights(), last, watch.seconds, problem.steps)


def weighted(kind, of_shared):
    """Returns a function that trains with the importance weights of an adapt class."""

    def train(problem: Problem, setting: Setting) -> Trained:
        def weights(problem):
            own = (problem.source.astype(float), problem.target.astype(float))  # cvxopt takes float64 alone
            rows = own if setting.own else problem.standardised
            chosen = {} if setting.own else of_shared(problem)
            return kind(verbose=0, random_state=problem.seed, **chosen).fit_weights(*rows)

        return source_only(problem, setting, weights)

    return train


METHODS = {
    "none": source_only,
    "dann": with_networks("DANN", "sum"),
    "cdan": with_networks("CDAN", "sum", entropy=False),
    "cdan_e": with_networks("CDAN", "factor", entropy=True),  # its entropy weights have mean 1/2
    "deep_coral": with_networks("DeepCORAL", "factor"),
    "mdd": with_networks("MDD", "factor"),
    "mcd": with_networks("MCD", None),
    "wasserstein": with_networks("WDGRL", "factor"),
    "adda": with_networks("ADDA", None),
    "kmm": weighted(KMM, lambda problem: {"gamma": problem.gamma}),
    "kliep": weighted(KLIEP, lambda problem: {"gamma": problem.gammas}),
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", "`shuffle=True` was passed")  # by adapt itself
    main("adapt", METHODS, ("adapt", "tensorflow", "keras"))

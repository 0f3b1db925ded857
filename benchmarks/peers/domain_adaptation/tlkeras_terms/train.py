"""tlkeras: a `TrainingModel` with one term, or importance weights."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))
sys.path.insert(0, str(Path(__file__).parents[1]))

import keras
import tensorflow as tf
from job import BATCH, EPSILON, MOMENTUM, Problem, Setting, Stopwatch, Trained, main

from tlkeras.config import HeadConfig, ModelConfig, StrengthConfig
from tlkeras.methods.adapt import make_method
from tlkeras.methods.adapt.configured import adaptation_model
from tlkeras.methods.adapt.reweighting import Reweighting
from tlkeras.models.build import build_model

# methods with and without hidden layers of their own
WITH_UNITS = ("dann", "cdan", "cdan_e", "adda", "wasserstein", "mdd")
WITHOUT_UNITS = ("none", "deep_coral", "mcd", "dan", "mcc", "kmm", "kliep")


def trained(name: str, problem: Problem, setting: Setting) -> Trained:
    """Trains with the method called `name`."""
    keras.utils.set_random_seed(problem.seed)
    config = ModelConfig(
        backbone="mlp", weights=None, head=HeadConfig(name="linear"),
        backbone_options={"units": (problem.hidden,), "activation": problem.activation},
    )  # fmt: skip
    inputs = problem.source.shape[1:]
    model = build_model(config, input_shape=inputs, num_outputs=problem.classes, seed=problem.seed)
    model.set_weights(problem.first)
    model.select("all", bn="train")
    options = {} if setting.own or name in WITHOUT_UNITS else {"units": setting.units}
    method = make_method(name, options)
    adaptation = adaptation_model(
        model,
        method,
        steps=problem.steps,
        seed=problem.seed,
        **({} if setting.own else set_as(name, setting)),
    )
    if not setting.own:
        set_heads(method, problem)
    adaptation.compile(
        optimizer=keras.optimizers.Adam(problem.rate, epsilon=EPSILON, use_ema=True, ema_momentum=MOMENTUM),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=min(500, problem.steps),
    )
    last = Last(model)
    with Stopwatch() as watch:
        data = batches(problem, method)
        adaptation.fit(data, steps_per_epoch=problem.steps, verbose=0, shuffle=False, callbacks=[last])
    averaged = model.get_weights()

    def with_weights(weights):
        def logits(x):
            model.set_weights(weights)
            return model(x).numpy()

        return logits

    logits = with_weights(averaged), with_weights(last.weights)
    return Trained(*logits, last.weights, watch.seconds, problem.steps)


def set_heads(method, problem: Problem) -> None:
    """Sets the first weights of the method's classifiers to those of all libraries."""
    names = ("domain_head", "critic", "adversary", "first", "second")
    heads = [getattr(method, name) for name in names if hasattr(method, name)]
    for number, head in enumerate(heads):
        kernels = [weights for weights in head.get_weights() if weights.ndim == 2]
        units = tuple(kernel.shape[1] for kernel in kernels)
        head.set_weights(problem.head(kernels[0].shape[0], units[:-1], units[-1], number))


def set_as(name: str, setting: Setting) -> dict:
    """Returns the weight and the schedule that `setting` describes."""
    kind = {"schedule": "warm_start", "start": setting.start} if name == "adda" else {"schedule": "constant"}
    return {"weight": setting.weight, "strength": StrengthConfig(value=setting.strength, **kind)}


def batches(problem: Problem, method) -> tf.data.Dataset:
    """Returns the batches of all steps."""
    source, labels, target = problem.stream()
    if isinstance(method, Reweighting):
        weights = method.weights(problem.source, problem.target, problem.seed)[problem.order]
        data = tf.data.Dataset.from_tensor_slices((source, labels, weights))
    elif method.target_views:
        data = tf.data.Dataset.from_tensor_slices(((source, labels), target))
    else:
        data = tf.data.Dataset.from_tensor_slices((source, labels))
    return data.batch(BATCH).prefetch(tf.data.AUTOTUNE)


class Last(keras.callbacks.Callback):
    """Keeps the weights of the last step, before Keras replaces them by their averages."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def on_epoch_end(self, epoch, logs=None):
        self.weights = self.network.get_weights()


def _method(name: str):
    return lambda problem, setting: trained(name, problem, setting)


if __name__ == "__main__":
    main(
        "tlkeras", {name: _method(name) for name in [*WITH_UNITS, *WITHOUT_UNITS]}, ("tlkeras", "tensorflow")
    )

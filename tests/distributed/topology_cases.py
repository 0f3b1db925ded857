"""Trains every case of the distribution tests on one topology and writes what came out.

Run as `python topology_cases.py none|mirrored|multi_worker OUT.npz CASE...`, once per process; several
workers are named by TF_CONFIG. Each case sees the same global batches on every topology, so all end alike.
"""

import sys

from tlkeras import backend
from tlkeras.config import OptimizerConfig, RuntimeConfig, ScheduleConfig

TOPOLOGY, OUT, *NAMES = sys.argv[1:]
RUNTIME = backend.start(RuntimeConfig(strategy=TOPOLOGY, devices=2 if TOPOLOGY == "mirrored" else None), 0)

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import ops  # noqa: E402

from tlkeras.backend.averaging import ValidateAverage, adopt_average, average_of  # noqa: E402
from tlkeras.backend.distributed_fit import (  # noqa: E402
    DistributedFit,
    scale_for_replicas,
    synchronize_batch_norm,
)
from tlkeras.training.optimizers import build_optimizer  # noqa: E402

BATCH, EPOCHS, STEPS_PER_EPOCH = 8, 4, 5
STEPS = EPOCHS * STEPS_PER_EPOCH
rng = np.random.default_rng(0)
X = rng.normal(size=(BATCH * STEPS, 6)).astype("float32")
Y = rng.integers(0, 3, BATCH * STEPS).astype("int32")
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class HandWrittenLoss(DistributedFit):
    """Adds a term of its own to the class loss, on batches that are no (x, y)."""

    def labelled_part(self, batch):
        return batch["source"]["x"], batch["source"]["y"], None

    def train_step(self, batch):
        x, y, _ = self.labelled_part(batch)
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            loss = self.compute_loss(x, y, logits, training=True)
            far = ops.mean(ops.square(self(batch["target"], training=True)))
            loss = loss + scale_for_replicas(0.3 * far)
        weights = self.trainable_weights
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        self._loss_tracker.update_state(loss)
        return self.compute_metrics(x, y, logits)


def batches(x=X, y=Y, weights=None, batch=BATCH):
    parts = (x, y) if weights is None else (x, y, weights)
    return RUNTIME.distribute(tf.data.Dataset.from_tensor_slices(parts).batch(batch))


def network(cls=DistributedFit, batch_norm=False):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((6,))
    x = keras.layers.Dense(8, "relu", kernel_regularizer=keras.regularizers.L2(0.01), name="hidden")(inputs)
    if batch_norm:
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
    return cls(inputs, keras.layers.Dense(3, name="output")(x))


def train(config, *, steps_per_execution=1, multipliers=None, model=None, data=None, callbacks=(), **fit):
    """Returns the fitted model and its history after `STEPS` steps over `EPOCHS` epochs."""
    with RUNTIME.scope():
        model = network() if model is None else model
        optimizer = build_optimizer(config, steps=STEPS, multipliers=multipliers)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            weighted_metrics=["accuracy"],
            steps_per_execution=steps_per_execution,
        )
    history = model.fit(
        batches() if data is None else data,
        epochs=EPOCHS,
        steps_per_epoch=STEPS_PER_EPOCH,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
        **fit,
    )
    return model, history.history


def flat(model):
    """Returns all weights of the model in one vector, the same on each replica."""
    for variable in model.variables:
        copies = [v.numpy() for v in getattr(variable.value, "values", [])]
        if "MEAN" not in str(getattr(variable.value, "aggregation", "")):
            assert all(np.array_equal(copy, copies[0]) for copy in copies), variable.path
    return np.concatenate([w.ravel() for w in model.get_weights()])


SGD = OptimizerConfig(name="sgd", learning_rate=0.1, options={"momentum": 0.9})


@case
def plain():
    model, history = train(SGD)
    return {"weights": flat(model), **history}


@case
def adam_with_schedule_and_decay():
    config = OptimizerConfig(
        name="adamw",
        learning_rate=0.02,
        weight_decay=0.1,
        schedule=ScheduleConfig(name="cosine", warmup_steps=4),
    )
    multipliers = {"hidden/kernel": 0.1, "output/bias": 0.0}
    model, _ = train(config, multipliers=multipliers)
    return {"weights": flat(model)}


@case
def clipped_by_global_norm():
    model, _ = train(SGD.model_copy(update={"global_clipnorm": 0.05}))
    return {"weights": flat(model)}


@case
def clipped_by_norm():
    model, _ = train(SGD.model_copy(update={"clipnorm": 0.03}))
    return {"weights": flat(model)}


@case
def accumulated():
    config = OptimizerConfig(
        name="adam", learning_rate=0.02, accumulate_steps=3, global_clipnorm=0.1, ema_momentum=0.6
    )
    model, _ = train(config, steps_per_execution=2)
    averages = np.concatenate([a.numpy().ravel() for _, a in average_of(model.optimizer)])
    return {"weights": flat(model), "averages": averages}


@case
def moving_average():
    model, history = train(
        SGD.model_copy(update={"ema_momentum": 0.8}),
        validation_data=batches(),
        callbacks=[ValidateAverage()],
    )
    before = flat(model)
    adopt_average(model.optimizer)
    return {"weights": flat(model), "before": before, **history}


@case
def several_steps_per_execution():
    seen = []
    record = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(batch))
    model, history = train(SGD, steps_per_execution=3, callbacks=[record])
    return {"weights": flat(model), "ends": seen, **history}


@case
def hand_written_loss():
    parts = {"source": {"x": X, "y": Y}, "target": X[::-1].copy()}
    data = RUNTIME.distribute(tf.data.Dataset.from_tensor_slices(parts).batch(BATCH))
    with RUNTIME.scope():
        model = network(HandWrittenLoss)
    model, _ = train(SGD, model=model, data=data, steps_per_execution=5)
    return {"weights": flat(model)}


@case
def synchronized_batch_norm():
    with RUNTIME.scope():
        model = network(batch_norm=True)
        assert synchronize_batch_norm(model) == 1
    model, _ = train(SGD, model=model)
    return {"weights": flat(model)}


@case
def uneven_evaluation_and_order():
    model, _ = train(SGD, steps_per_execution=2)
    rows = 43
    padded = -(-rows // BATCH) * BATCH
    weights = (np.arange(padded) < rows).astype("float32")
    result = model.evaluate(batches(X[:padded], Y[:padded], weights), verbose=0, return_dict=True)
    plain = model.evaluate(batches(X[:rows], Y[:rows]), verbose=0, return_dict=True)
    logits = model.predict(batches(X[:rows], Y[:rows]), verbose=0)
    expected = ops.convert_to_numpy(model(X[:rows]))
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    regularization = float(sum(model.losses))
    loss = keras.losses.sparse_categorical_crossentropy(Y[:rows], expected, from_logits=True)
    np.testing.assert_allclose(result["loss"], np.mean(loss) + regularization, rtol=1e-5)
    np.testing.assert_allclose(plain["loss"], np.mean(loss) + regularization, rtol=1e-5)
    return {"logits": logits, "loss": result["loss"], "accuracy": result["accuracy"]}


@case
def dropout_masks():
    """Not the same on every topology: rows of two replicas must not share their masks."""

    class Masks(DistributedFit):
        def predict_step(self, data):
            return self(data[0] if isinstance(data, tuple) else data, training=True)

    with RUNTIME.scope():
        inputs = keras.Input((64,))
        model = Masks(inputs, keras.layers.Dropout(0.5, seed=3)(inputs))
        model.compile("sgd", "mse")
    ones = RUNTIME.distribute(
        tf.data.Dataset.from_tensors(np.ones((8, 64), "float32")).repeat(2).unbatch().batch(8)
    )
    return {"masks": model.predict(ones, verbose=0)}


@case
def optimizer_state():
    config = OptimizerConfig(name="adam", accumulate_steps=2, ema_momentum=0.9)
    with RUNTIME.scope():
        model = network()
        optimizer = build_optimizer(config, steps=STEPS, variables=model.trainable_variables)
    return {"shapes": [str((v.path, tuple(v.shape))) for v in optimizer.variables]}


results = {f"{name}/{key}": np.asarray(value) for name in NAMES for key, value in CASES[name]().items()}
np.savez(OUT, **results)

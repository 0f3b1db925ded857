"""A test of one minute that a device trains correctly, before a long run."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.backend.start import Runtime
from tlkeras.errors import RunError

STEPS = 20
ROWS_PER_REPLICA = 8


@dataclass(frozen=True)
class SelfTest:
    """The results of `overfit`.

    Attributes:
        first_loss: Loss before the first step.
        last_loss: Loss after `STEPS` steps on the same batch.
        difference: Largest difference of a logit between the device and NumPy, as a fraction of their spread.
        seconds: Seconds for compiling and training.
    """

    first_loss: float
    last_loss: float
    difference: float
    seconds: float

    def __str__(self) -> str:
        return (
            f"{STEPS} steps on one batch: loss {self.first_loss:.3f} to {self.last_loss:.3f} in "
            f"{self.seconds:.1f} s; outputs differ from NumPy's by {self.difference:.1e}."
        )


def overfit(runtime: Runtime) -> SelfTest:
    """Fits one random batch in 20 steps, five per call, on the run's devices, and checks the outputs.

    There are reports of devices on which training learns nothing (keras#21061), or on which metrics are wrong
    (keras#19448). The test finds this before a long run.

    Args:
        runtime: Runtime of the run.

    Raises:
        RunError: The loss does not fall below a tenth, or the outputs do not agree with the weights.
    """
    rows = ROWS_PER_REPLICA * runtime.replicas
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 16)).astype("float32")
    y = (np.arange(rows) % 4).astype("int32")
    data = tf.data.Dataset.from_tensors((x, y)).unbatch().batch(rows, drop_remainder=True)
    began = time.monotonic()
    with runtime.scope():
        model: Any = _Network()
        model.build((None, 16))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(0.02), loss, steps_per_execution=5)
    first = _mean_loss(_by_numpy(model, x), y)
    batches = runtime.distribute(data.repeat(STEPS))
    model.fit(batches, epochs=1, steps_per_epoch=STEPS, shuffle=False, verbose=0)
    received = np.asarray(model.predict(runtime.distribute(data), verbose=0), np.float32)
    expected = _by_numpy(model, x)
    difference = float(np.abs(received - expected).max() / expected.std())
    found = SelfTest(first, _mean_loss(received, y), difference, time.monotonic() - began)
    if not found.last_loss < first / 10:
        raise RunError(f"This device cannot learn a single batch by heart, so do not train on it. {found}")
    if not difference < _tolerance():
        raise RunError(
            "This device computes other outputs than NumPy from the same weights, so do not train on it. "
            f"{found}"
        )
    return found


class _Network(DistributedFit):
    """Two dense layers. A functional model would change DistributedFit for the whole process."""

    def __init__(self):
        super().__init__(name="self_test")
        start = [keras.initializers.GlorotUniform(seed) for seed in (1, 2)]
        self.hidden = keras.layers.Dense(64, "relu", kernel_initializer=start[0])
        self.head = keras.layers.Dense(4, kernel_initializer=start[1], dtype="float32")

    def build(self, input_shape):
        self.hidden.build(input_shape)
        self.head.build((None, self.hidden.units))
        self.built = True

    def call(self, x, training=None):
        return self.head(self.hidden(x))


def _by_numpy(model: keras.Model, x: np.ndarray) -> np.ndarray:
    kernel, bias, head, head_bias = (np.asarray(w, np.float32) for w in model.get_weights())
    return np.maximum(x @ kernel + bias, 0) @ head + head_bias


def _mean_loss(logits: np.ndarray, y: np.ndarray) -> float:
    top = logits.max(axis=1, keepdims=True)
    log_sum = top[:, 0] + np.log(np.exp(logits - top).sum(axis=1))
    return float(np.mean(log_sum - logits[np.arange(len(y)), y]))


def _tolerance() -> float:
    # TPUs, and GPUs with TF32, multiply float32 with fewer bits
    return 0.05

"""Helpers that several tests of models share."""

import keras
import numpy as np
import pytest


def _randomise_statistics(backbone, x):
    rng = np.random.default_rng(0)
    norms = [x for x in backbone._flatten_layers() if isinstance(x, keras.layers.BatchNormalization)]
    if not norms:
        return
    before = [(layer.momentum, layer.trainable) for layer in norms]
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True
        layer.epsilon = 1e-6  # the usual 1e-3 is more than the variances of a random network
    backbone(x, training=True)
    for layer, (momentum, trainable) in zip(norms, before, strict=True):
        layer.momentum, layer.trainable = momentum, trainable
        variance = layer.moving_variance.numpy()
        shift = 0.1 * np.sqrt(variance) * rng.normal(size=variance.shape)
        layer.moving_mean.assign_add(shift)
        layer.moving_variance.assign(variance * rng.uniform(0.5, 1.5, variance.shape))


@pytest.fixture
def randomise_statistics():
    """Returns `randomise_statistics(backbone, x)`: statistics near those of x, where fresh ones would
    let the outputs vanish."""
    return _randomise_statistics


@pytest.fixture
def half_precision():
    """Builds networks in mixed bfloat16."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture
def pixels():
    """Returns `pixels(n, side)`: random images of 0..255."""

    def make(n, side, seed=0):
        size = (n, side, side, 3)
        return np.random.default_rng(seed).integers(0, 256, size).astype("float32")

    return make


def _relative_difference(a, b):
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    spread = (a - a.mean(0)).std()
    assert spread > 1e-4, "the outputs hardly differ between rows: the comparison says nothing"
    return np.abs(a - b).max() / spread


@pytest.fixture
def relative_difference():
    """Returns a function: the largest difference of two outputs, relative to their spread over rows."""
    return _relative_difference


@pytest.fixture
def settle(pixels, randomise_statistics):
    """Returns `settled(model)`: gives a network statistics near those of random pictures."""

    def settled(model):
        x = pixels(6, model.input_shape[1])
        randomise_statistics(model.backbone, model.preprocess(x))

    return settled

"""The train step compiles with XLA for a member of each family, as a TPU would do with it.

XLA compiles slowly on CPU, so CI takes two: plain convolutions, and depthwise ones with residuals and batch
normalization. `--long` takes the others, in 3 to 10 minutes.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.util import _pywrap_determinism
from variants import all_but

from tlkeras.config import ModelConfig
from tlkeras.models import build_model

ROWS = 4
# smallest members at the smallest size that they take
QUICK = ("vgg16", "resnet50", "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0")
MEMBERS = {"small_cnn": 16} | dict.fromkeys(QUICK, 32)
SLOW = (
    "resnet50_v2",
    "efficientnet_b0",
    "efficientnet_v2_b0",
    "densenet121",
    "convnext_tiny",
    "nasnet_mobile",
)
MEMBERS |= dict.fromkeys(SLOW, 32) | {"xception": 71, "inception_v3": 75, "inception_resnet_v2": 75}


@pytest.fixture(autouse=True)
def without_op_determinism():
    """As on a TPU: XLA has no deterministic gradient of max pooling."""
    was = _pywrap_determinism.is_enabled()
    _pywrap_determinism.enable(False)
    yield
    _pywrap_determinism.enable(was)


def steps(backbone: str, jit_compile: bool):
    """Returns the loss of one step, and how it moved the head's weights."""
    size = MEMBERS[backbone]
    keras.utils.set_random_seed(0)
    config = ModelConfig(backbone=backbone, weights=None)
    model = build_model(config, input_shape=(size, size, 3), num_outputs=3, seed=0)
    rng = np.random.default_rng(0)
    x = tf.constant(rng.integers(0, 256, (ROWS, size, size, 3)).astype("float32"))
    _take_statistics(model, x)
    model.select("last:1", "frozen")
    y = tf.constant(np.arange(ROWS, dtype="int32") % 3)
    optimizer = keras.optimizers.SGD(0.01)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=False)
    optimizer.build(model.trainable_variables)
    step = tf.function(lambda batch: model.train_step(batch), jit_compile=jit_compile, autograph=False)
    before = model.head.get_weights()
    values = step((x, y))
    return float(values["loss"]), [b - a for a, b in zip(before, model.head.get_weights(), strict=True)]


def _take_statistics(model, x):
    """Gives BatchNormalization the statistics of a batch, without which a fresh network puts out nothing."""
    norms = [n for n in model.backbone._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum, layer.trainable = 0.0, True
    model.backbone(model.preprocess(x), training=True)


@pytest.mark.parametrize("backbone", all_but(["small_cnn", "efficientnet_lite0"], MEMBERS))
def test_compiled_and_plain_steps_agree(backbone):
    plain_loss, plain = steps(backbone, False)
    loss, moves = steps(backbone, True)
    assert np.isfinite(loss) and abs(plain_loss - np.log(3)) > 1e-4  # what a dead network would give
    # rounding grows by thousands on its way through a deep random network
    np.testing.assert_allclose(loss, plain_loss, rtol=0.05)
    for received, expected in zip(moves, plain, strict=True):
        assert np.abs(expected).max() > 1e-6
        np.testing.assert_allclose(received, expected, rtol=0, atol=0.1 * np.abs(expected).max())

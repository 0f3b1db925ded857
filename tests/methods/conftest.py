"""Data that several tests of adaptation train on."""

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture
def small_batches():
    rng = np.random.default_rng(0)
    source = rng.normal(size=(64, 2)).astype("float32")
    target = (rng.normal(size=(64, 2)) + 1).astype("float32")
    labels = (source[:, 0] > 0).astype("int32")
    data = tf.data.Dataset.from_tensor_slices(((source, labels), target))
    return data.repeat().batch(8, drop_remainder=True)  # the same batches in every fit

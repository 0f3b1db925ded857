"""BatchNormalization between domains."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_problems import sigmoid_network, train

from tlkeras.errors import UserError
from tlkeras.methods.adapt.domain_statistics import adapt_batch_norm, batch_norm_layers


def shifted_batches():
    """Source around 0, target around 10; batches of 8 in a fixed order."""
    rng = np.random.default_rng(0)
    source = rng.normal(size=(64, 2)).astype("float32")
    target = (3 * rng.normal(size=(64, 2)) + 10).astype("float32")
    labels = (source[:, 0] > 0).astype("int32")
    data = tf.data.Dataset.from_tensor_slices(((source, labels), target)).repeat().batch(8)
    return data, source, target


def statistics(model):
    (layer,) = batch_norm_layers(model)
    return layer.moving_mean.numpy(), layer.moving_variance.numpy()


def trained(batch_norm, momentum=0.9):
    data, source, target = shifted_batches()
    model = sigmoid_network(batch_norm=True)
    batch_norm_layers(model)[0].momentum = momentum
    adaptation, _ = train(
        model, data, 80, per_call=20, method="dann", options={"units": (8,)}, batch_norm=batch_norm
    )
    return adaptation, source, target


def test_shared_statistics_cover_both_domains():
    adaptation, source, target = trained("shared")
    mean, variance = statistics(adaptation.model)
    both = np.concatenate([source, target])
    np.testing.assert_allclose(mean, both.mean(axis=0), atol=0.5)
    np.testing.assert_allclose(variance, both.var(axis=0), rtol=0.2)


def test_domain_specific_statistics_are_those_of_each_domain():
    adaptation, source, target = trained("domain_specific")
    np.testing.assert_allclose(statistics(adaptation.model)[0], target.mean(axis=0), atol=0.7)
    with adaptation.validation():
        mean, variance = statistics(adaptation.model)
        np.testing.assert_allclose(mean, source.mean(axis=0), atol=0.3)
        np.testing.assert_allclose(variance, source.var(axis=0), rtol=0.3)
    np.testing.assert_allclose(statistics(adaptation.model)[0], target.mean(axis=0), atol=0.7)


def test_domain_specific_without_batch_norm_is_refused(small_batches):
    with pytest.raises(UserError, match="needs BatchNormalization"):
        train(sigmoid_network(), small_batches, 1, method="dann", batch_norm="domain_specific")


@pytest.mark.parametrize("trainable", [True, False])
def test_adabn_puts_the_targets_statistics_in_and_leaves_the_rest(trainable):
    _, _, target = shifted_batches()
    inputs = keras.Input((2,))
    x = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(inputs))
    inner = keras.Model(inputs, x)
    model = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    layer = batch_norm_layers(model)[0]
    layer.trainable = trainable
    kernel = model.layers[-1].kernel.numpy()
    adapt_batch_norm(model, [target[i : i + 16] for i in range(0, 64, 16)])
    mean, variance = statistics(model)
    np.testing.assert_allclose(mean, target.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(variance, target.var(axis=0), rtol=1e-4)
    assert layer.momentum == 0.99
    assert layer.trainable is trainable
    np.testing.assert_array_equal(model.layers[-1].kernel.numpy(), kernel)
    expected = (target[:4] - mean) / np.sqrt(variance + layer.epsilon) @ kernel
    np.testing.assert_allclose(model(target[:4]), expected, rtol=1e-4, atol=1e-5)

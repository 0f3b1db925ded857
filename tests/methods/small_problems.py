"""Small models and data for adaptation: moons turned by 35 degrees, blobs that are shifted."""

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backend.distributed_fit import DistributedFit
from tlkeras.methods.adapt.configured import adaptation_model


class Tapped(DistributedFit):
    """An encoder and a classifier with the two calls that an adapting model needs."""

    def __init__(self, encoder, classifier):
        super().__init__()
        self.encoder, self.classifier = encoder, classifier
        self.built = True

    @property
    def input_shape(self):
        return self.encoder.input_shape

    def features(self, x, training=None):
        return self.encoder(x, training=training)

    def classify(self, features, training=None):
        return self.classifier(features, training=training)

    def call(self, x, training=None):
        return self.classify(self.features(x, training=training), training=training)


def dense(units, seed, **kwargs):
    return keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed), **kwargs)


def sigmoid_network(units=15, outputs=2, inputs=2, seed=0, batch_norm=False):
    encoder = [keras.Input((inputs,)), dense(units, seed, activation="sigmoid")]
    if batch_norm:
        encoder.insert(1, keras.layers.BatchNormalization())
    classifier = [keras.Input((units,)), dense(outputs, seed + 1)]
    return Tapped(keras.Sequential(encoder), keras.Sequential(classifier))


def batches(source, target, labels=None, *, batch=32, steps=None, seed=0):
    """Batches `((x, y), target_x)`, each domain reshuffled at every pass."""

    def stream(arrays, seed):
        data = tf.data.Dataset.from_tensor_slices(arrays)
        data = data.shuffle(len(arrays[0] if isinstance(arrays, tuple) else arrays), seed=seed)
        return data.repeat().batch(batch, drop_remainder=True)

    paired = tf.data.Dataset.zip((stream((source, labels), seed), stream(target, seed + 1)))
    return paired if steps is None else paired.take(steps)


def moons(seed=0, angle=35.0, rows=300):
    """The moons of Ganin et al. (2016), section 5.1.1: centred, twice as large, the target turned."""
    from sklearn.datasets import make_moons

    source, labels = make_moons(rows, noise=0.05, random_state=2 * seed + 1)
    target, target_labels = make_moons(rows, noise=0.05, random_state=2 * seed + 2)
    centre, turn = source.mean(axis=0), np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    source, target = 2 * (source - centre), 2 * (target - centre) @ rotation.T
    return source.astype("float32"), labels, target.astype("float32"), target_labels


def train(model, data, steps, *, optimizer=None, loss=None, per_call=1, epochs=1, **kwargs):
    """Compiles and fits an adapting model built with `kwargs`, and returns it with its history."""
    adaptation = adaptation_model(model, steps=steps, **kwargs)
    adaptation.compile(
        optimizer=optimizer or keras.optimizers.SGD(0.1),
        loss=loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"] if loss is None else None,
        steps_per_execution=per_call,
    )
    history = adaptation.fit(data, steps_per_epoch=steps // epochs, epochs=epochs, verbose=0, shuffle=False)
    return adaptation, history.history

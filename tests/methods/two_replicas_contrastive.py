"""A step of SimCLR's loss on two logical CPUs, and the mean of its gradients on both halves of a batch."""

from two_cpus import MIRRORED, furthest  # isort: skip (sets the devices up)

import json

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config import ModelConfig
from tlkeras.methods.pretext.contrastive import NTXent
from tlkeras.models import build_model

X = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
PICTURES = np.repeat(np.arange(8), 2).astype("int32")
CONFIG = ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8, 5]})


def built():
    model = build_model(CONFIG, input_shape=(6,), num_outputs=4)
    model.select("all")
    return model


def by_hand(parts):
    """Returns the weights after a step of SGD with the mean of the gradients on parts of the batch."""
    model, sums = built(), None
    for part in parts:
        with tf.GradientTape() as tape:
            loss = NTXent()(PICTURES[part], model(X[part], training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        sums = gradients if sums is None else [a + b for a, b in zip(sums, gradients, strict=True)]
    for variable, gradient in zip(model.trainable_variables, sums, strict=True):
        variable.assign_sub(0.5 * gradient / len(parts))
    return [v.numpy() for v in model.variables]


with MIRRORED.scope():
    replicated = built()
    replicated.compile(keras.optimizers.SGD(0.5), NTXent())
    data = tf.data.Dataset.from_tensor_slices((X, PICTURES)).batch(16)
    replicated.fit(data, epochs=1, verbose=0)
found = [v.numpy() for v in replicated.variables]
apart = {
    name: furthest(found, by_hand(parts))
    for name, parts in {
        "halves": [slice(0, 8), slice(8, 16)],
        "whole": [slice(0, 16)],
    }.items()
}
print(json.dumps(apart))

"""Trains each regularizer on one device and on two logical CPUs; prints how far the weights lie apart."""

from two_cpus import MIRRORED, ONE_DEVICE, furthest  # isort: skip (sets the devices up)

import json
import sys

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config import DataConfig, ModelConfig, StageConfig
from tlkeras.data import load_domain
from tlkeras.models import build_model
from tlkeras.transfer.regularized_model import RegularizedModel
from tlkeras.transfer.regularizers import make_regularizer

rng = np.random.default_rng(0)
Y = (np.arange(32) % 3).astype("int32")
X = rng.normal(size=(32, 6)).astype("float32") + np.eye(6, dtype="float32")[Y]
DATA = DataConfig(source="npz:memory")


def fitted(strategy, name, weight):
    domain = load_domain(DATA, seed=0, arrays={"train": (X, Y), "val": (X, Y), "test": (X, Y)})
    config = ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8, 5]})
    stage = StageConfig(name="tune", train="all", regularizer={"name": name})
    with strategy.scope():
        model = build_model(config, input_shape=(6,), num_outputs=3)
        model.select("all")
        trainee = RegularizedModel(
            model, make_regularizer(name, weight), stage=stage, source=config, domain=domain, start={}, seed=0
        )
        trainee.compile(
            keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            steps_per_execution=2,
        )  # fmt: skip
        data = tf.data.Dataset.from_tensor_slices((X, Y)).repeat().batch(16, drop_remainder=True)
        trainee.fit(data, steps_per_epoch=10, epochs=1, verbose=0)
    return [v.numpy() for v in model.variables]


apart = {}
for name, weight in json.loads(sys.argv[1]).items():
    one, two = (fitted(s, name, weight) for s in (ONE_DEVICE, MIRRORED))
    apart[name] = furthest(one, two)
print(json.dumps(apart))

"""Trains two tasks in turns on one device and on two logical CPUs; prints how far the weights lie apart."""

from two_cpus import MIRRORED, ONE_DEVICE, furthest  # isort: skip (sets the devices up)

import keras
import numpy as np
import tensorflow as tf

from tlkeras.config import DataConfig, HeadConfig, ModelConfig, OptimizerConfig, TasksConfig
from tlkeras.methods.share.sharing import PrivatePart, SecondTask
from tlkeras.methods.training_model import TrainingModel
from tlkeras.models import build_model
from tlkeras.training.optimizers import build_optimizer

rng = np.random.default_rng(0)
Y = (np.arange(32) % 3).astype("int32")
X = rng.normal(size=(32, 6)).astype("float32") + np.eye(6, dtype="float32")[Y]
TASKS = TasksConfig(source=DataConfig(source="npz:memory"), head=HeadConfig(name="mlp", units=(4,)))


def fitted(strategy):
    config = ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8, 5]})
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with strategy.scope():
        model = build_model(config, input_shape=(6,), num_outputs=3)
        model.select("all")
        private = PrivatePart(model, config, TASKS, (6,), 3, seed=0)
        joint = TrainingModel(model, (SecondTask(private, loss, weight=1.0, alternating=True),))
        optimizer = build_optimizer(OptimizerConfig(name="adamw", learning_rate=0.05), steps=8)
        joint.compile(optimizer, loss, steps_per_execution=2)
        data = tf.data.Dataset.from_tensor_slices(((X, Y), (X[::-1].copy(), Y))).repeat()
        joint.fit(data.batch(16, drop_remainder=True), steps_per_epoch=8, verbose=0)
    return [v.numpy() for v in joint.trainable_variables]


print(furthest(fitted(ONE_DEVICE), fitted(MIRRORED)))

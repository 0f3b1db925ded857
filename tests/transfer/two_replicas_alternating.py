"""Trains two tasks in turns on one device and on two logical CPUs; prints how far the weights lie apart."""

import os

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import keras  # noqa: E402
import numpy as np  # noqa: E402

from tlkeras.config import DataConfig, HeadConfig, ModelConfig, OptimizerConfig, TasksConfig  # noqa: E402
from tlkeras.models import build_model  # noqa: E402
from tlkeras.training.optimizers import build_optimizer  # noqa: E402
from tlkeras.transfer.sharing import JointModel, PrivatePart  # noqa: E402

MIRRORED = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)
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
        joint = JointModel(model, private, loss, weight=1.0, alternating=True)
        optimizer = build_optimizer(OptimizerConfig(name="adamw", learning_rate=0.05), steps=8)
        joint.compile(optimizer, loss, steps_per_execution=2)
        data = tf.data.Dataset.from_tensor_slices(((X, Y), (X[::-1].copy(), Y))).repeat()
        joint.fit(data.batch(16, drop_remainder=True), steps_per_epoch=8, verbose=0)
    return [v.numpy() for v in joint.trainable_variables]


pairs = zip(fitted(tf.distribute.get_strategy()), fitted(MIRRORED), strict=True)
print(max(float(np.abs(one - two).max()) for one, two in pairs))

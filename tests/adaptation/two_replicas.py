"""Trains each method on one device and on two logical CPUs, and prints how far the weights lie apart."""

import json
import os
import sys

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

import numpy as np  # noqa: E402
from small_problems import sigmoid_network, train  # noqa: E402

from tlkeras.adaptation.methods import make_method  # noqa: E402
from tlkeras.config.adaptation import StrengthConfig  # noqa: E402

MIRRORED = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)


def fitted(strategy, name, options):
    rng = np.random.default_rng(0)
    source = rng.normal(size=(160, 2)).astype("float32")
    target = rng.normal(1, size=(160, 2)).astype("float32")
    labels = (source[:, 0] > 0).astype("int32")
    with strategy.scope():
        method = make_method(name, options)
        views = (target, target * 1.1) if method.target_views == 2 else target
        data = tf.data.Dataset.from_tensor_slices(((source, labels), views)).repeat().batch(16, True)
        model = sigmoid_network()
        adaptation, history = train(
            model, data, 20, per_call=4, method=method, strength=StrengthConfig(schedule="linear")
        )
    numbers = [v.numpy() for v in (*model.variables, *adaptation.method.variables)]
    logs = [history[k][0] for k in ("loss", "class_loss", "alignment", "strength")]
    norm = history.get("reversal_gradient_norm", [0.0])
    return numbers, np.array([*logs, *norm])


results = {}
for name, options in json.loads(sys.argv[1]).items():
    (one, logs), (two, mirrored_logs) = (
        fitted(s, name, options) for s in (tf.distribute.get_strategy(), MIRRORED)
    )
    apart = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
    results[name] = [apart, float(np.abs(logs - mirrored_logs).max())]
print(json.dumps(results))

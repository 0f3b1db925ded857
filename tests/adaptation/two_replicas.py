"""Trains each method on one device and on two logical CPUs, and prints how far the weights lie apart."""

from two_cpus import MIRRORED, ONE_DEVICE, furthest  # isort: skip (sets the devices up)

import json
import sys

import numpy as np
import tensorflow as tf
from small_problems import sigmoid_network, train

from tlkeras.adaptation.methods import make_method
from tlkeras.config.adaptation import StrengthConfig


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
    (one, logs), (two, mirrored_logs) = (fitted(s, name, options) for s in (ONE_DEVICE, MIRRORED))
    apart = furthest(one, two)
    results[name] = [apart, float(np.abs(logs - mirrored_logs).max())]
print(json.dumps(results))

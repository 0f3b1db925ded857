"""Measures the time of a step of adapt's DANN on the digit network. `adaptation.py speed` starts it.

The package adapt (https://adapt-python.github.io/adapt, BSD-2-Clause) needs an environment of its own:
`python -m venv ENV && ENV/bin/pip install adapt==0.4.5 tensorflow keras`. This script does not import
tlkeras.

For each line on stdin, the script trains and prints the seconds per step. The first number includes the time
to build the model.
"""

import json
import os
import sys
import time
import warnings

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from adapt.feature_based import DANN

OPTIONS = json.loads(sys.argv[1])
BATCH, STEPS, PER_CALL = OPTIONS["batch"], OPTIONS["steps"], OPTIONS["per_call"]


def digit_network():
    """Returns the network of figure 4a of Ganin et al. (2016), with a domain classifier of 100 units, as the
    parts that adapt needs.
    """
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input((28, 28, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(48, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
    )
    task = keras.Sequential(
        [keras.Input((768,))] + [layers.Dense(100, activation="relu") for _ in range(2)] + [layers.Dense(10)]
    )
    discriminator = keras.Sequential(
        [
            keras.Input((768,)),
            layers.Dense(100, activation="relu"),
            layers.Dense(1, activation="sigmoid"),
        ]
    )
    return encoder, task, discriminator


encoder, task, discriminator = digit_network()
rng = np.random.default_rng(0)
source, target = rng.uniform(0, 255, (2, STEPS * BATCH, 28, 28, 3)).astype("float32")
labels = np.eye(10, dtype="float32")[rng.integers(0, 10, STEPS * BATCH)]
model = DANN(
    encoder,
    task,
    discriminator,
    lambda_=0.5,
    copy=False,
    optimizer=keras.optimizers.SGD(0.01, momentum=0.9),
    loss=keras.losses.CategoricalCrossentropy(from_logits=True),
    steps_per_execution=PER_CALL,
    verbose=0,
    random_state=0,
)
warnings.filterwarnings("ignore", "`shuffle=True` was passed")  # by adapt itself
for _ in sys.stdin:
    begin = time.perf_counter()
    model.fit(source, labels, target, epochs=1, batch_size=BATCH, shuffle=False, verbose=0)
    print(json.dumps((time.perf_counter() - begin) / STEPS), flush=True)

"""Networks that are fitted for a few steps, and which of their variables that moves."""

import keras
import numpy as np

from tlkeras.config import HeadConfig, ModelConfig, NeckConfig
from tlkeras.models import build_model


def network(backbone="small_cnn", side=16, options=None, neck=None, head=None):
    config = ModelConfig(
        backbone=backbone,
        weights=None,
        backbone_options=options or {},
        neck=neck or NeckConfig(),
        head=head or HeadConfig(),
    )
    return build_model(config, input_shape=(side, side, 3), num_outputs=3)


def fit(model, x, steps=3):
    y = np.arange(len(x), dtype="int32") % 3
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0)


def moved(model, x):
    """Returns the paths of the variables that `fit` moves, dropout's seeds aside."""
    before = {id(v): v.numpy() for v in model.variables if "seed" not in v.path}
    fit(model, x)
    now = [(v, before[id(v)]) for v in model.variables if id(v) in before]
    return {v.path for v, old in now if not np.array_equal(v.numpy(), old)}

"""Builds every backbone and checks its row, its cut points, and that its model can be saved and loaded.

    python benchmarks/all_backbones.py [--filter='efficientnet*']

The script prints one line per backbone: seconds, parameters, blocks, and the largest difference of
tail(trunk(x)) and of the loaded model from the whole model, relative to the spread of the outputs over rows.
It exits with 1 if a row is wrong. Weights are random. All rows took 17 minutes on two busy cores.
"""

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags

from tlkeras.config import ModelConfig
from tlkeras.models import BACKBONES, build_model

FILTER = flags.DEFINE_string("filter", "*", "Which backbones, as a wildcard.")


def settle_statistics(model, x) -> None:
    """Sets the statistics of BatchNormalization to those of x. With initial statistics, the outputs would be
    almost 0.
    """
    leaves = model.backbone._flatten_layers()
    norms = [layer for layer in leaves if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        layer.momentum, layer.trainable, layer.epsilon = 0.0, True, 1e-6
    model.backbone(model.preprocess(x), training=True)
    for layer in norms:
        layer.momentum, layer.trainable = 0.99, False


def difference(a, b) -> float:
    """Returns the largest difference, relative to the spread over rows."""
    a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
    return float(np.abs(a - b).max() / (a - a.mean(0)).std())


def check(name: str) -> bool:
    """Checks one row and prints the result."""
    row, start = BACKBONES.get(name), time.perf_counter()
    side = max(row.family.min_size, 32)
    shape = (16,) if row.input == "vector" else (side, side, 3)
    config = ModelConfig(backbone=name, weights=None)
    model = build_model(config, input_shape=shape, num_outputs=4)
    x = np.random.default_rng(0).uniform(0, 255, (4, *shape)).astype("float32")
    settle_statistics(model, x)
    expected = model(x)
    if model.blocks:
        model.select(f"last:{(len(model.blocks) + 1) // 2}")
    cut = difference(expected, model.on_features()(model.trunk()(x))) if model.blocks else 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.keras"
        model.to_functional().save(path)
        loaded = difference(expected, keras.models.load_model(path)(x))
    facts = row.parameters in (None, model.backbone.count_params())
    facts &= tuple(block.name for block in model.blocks) == row.block_names
    right = facts and cut < 1e-4 and loaded < 1e-4
    print(
        f"{'ok   ' if right else 'WRONG'} {name:22} {time.perf_counter() - start:5.1f} s "
        f"{model.backbone.count_params():>11,} {len(model.blocks):>4} blocks  "
        f"cut {cut:.0e}  loaded {loaded:.0e}",
        flush=True,
    )
    keras.utils.clear_session()
    return right


def main(_) -> int:
    """Checks all rows that match the filter."""
    results = [check(name) for name in BACKBONES.names(FILTER.value)]
    return int(not all(results))


if __name__ == "__main__":
    app.run(main)

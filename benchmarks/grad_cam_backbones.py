"""Checks Grad-CAM on every backbone: whether the map is correct, and whether it depends on the weights.

    python benchmarks/grad_cam_backbones.py [--filter='resnet*'] [--least=30000000]

The script prints one line per backbone: the layer, the size of its maps, the largest difference from class
activation mapping (which equals Grad-CAM for a linear head on averaged maps: Selvaraju et al. 2017, section
3.1), and the correlation of the maps with those of the same network after its weights were shuffled (Adebayo
et al. 2018). It exits with 1 if a map is empty, differs, or does not change. Weights are random.
BatchNormalization has the statistics of a batch with random changes.
"""

import time

import numpy as np
from absl import app, flags
from export_parity import random_network, smooth_images  # first: it imports TensorFlow as tlkeras does

import keras  # isort: skip

from tlkeras.evaluation.explain import cam_layer, grad_cam, patch_grid
from tlkeras.models import BACKBONES
from tlkeras.models.backbones.registry import Backbone
from tlkeras.models.cuts.graph import output_of

FILTER = flags.DEFINE_string("filter", "*", "Which backbones, as a wildcard.")
LEAST = flags.DEFINE_integer("least", 0, "Parameters that a backbone must have.")
ROWS = 4


def activation_maps(model: keras.Model, images: np.ndarray, targets: np.ndarray, layer: str):
    """Returns the class activation maps (Zhou et al. 2016) `(n, h, w)`, in 0..1, and the outputs of the
    layer.

    The maps are None if the head does not take the mean of these outputs, because there is no closed form
    then.
    """
    # layer by layer, as in grad_cam: a compiled random network of 800 layers gives other maps
    maps = np.asarray(keras.Model(model.inputs, output_of(model, layer))(images, training=False))
    if maps.ndim == 3:  # tokens before the last block
        return None, maps
    features = np.asarray(keras.Model(model.inputs, output_of(model, "features"))(images, training=False))
    if features.shape != maps.mean(axis=(1, 2)).shape or not np.allclose(
        features, maps.mean(axis=(1, 2)), atol=1e-4 * np.abs(features).max()
    ):
        return None, maps
    kernel = model.get_layer("logits").kernel.numpy()
    heat = np.stack([np.maximum(maps[i] @ kernel[:, target], 0) for i, target in enumerate(targets)])
    heat = np.asarray(keras.ops.image.resize(heat[..., None], images.shape[1:3]))[..., 0]
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-30), maps


def shuffle(model: keras.Model) -> None:
    """Shuffles each weight of a model in place. The statistics of BatchNormalization are not changed."""
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        values = variable.numpy().ravel()
        rng.shuffle(values)
        variable.assign(values.reshape(variable.shape))


def side_of(row: Backbone) -> int:
    """Returns the side of small images that the backbone takes."""
    patch, window = row.arguments.get("patch"), row.arguments.get("window")
    if window:
        return 32 * window
    return 8 * patch if patch else max(2 * row.family.min_size, 96 if row.size > 32 else 32)


def check(name: str) -> bool:
    """Checks one backbone and prints the result."""
    row, start = BACKBONES.get(name), time.perf_counter()
    side = side_of(row)
    images = smooth_images(8, side)
    model = random_network(name, side, images)
    layer = cam_layer(model, name)
    logits = model.predict(images, verbose=0)
    surest = np.argsort(-logits.max(axis=1))[:ROWS]  # a map is empty if no activation supports the class
    images, targets = images[surest], logits[surest].argmax(axis=1)
    expected, maps = activation_maps(model, images, targets, layer)
    heat = grad_cam(model, images, targets, layer)
    difference = 0.0 if expected is None else float(np.abs(heat - expected).max())
    told = "no closed form" if expected is None else f"CAM {difference:.0e}"
    shuffle(model)
    other = grad_cam(model, images, targets, layer)
    same = float(np.corrcoef(heat.ravel(), other.ravel())[0, 1]) if other.any() else 0.0
    expected_layer = row.grad_cam or f"{row.block_names[-1]}_norm_1"  # of a vision transformer
    right = layer == expected_layer and heat.any() and difference < 2e-3 and same < 0.9
    shape = " x ".join(map(str, patch_grid(model) or maps.shape[1:3]))
    print(
        f"{'ok   ' if right else 'WRONG'} {name:20} {row.parameters or model.count_params():>12,} "
        f"{layer:32} {shape:7} {told:<14} shuffled {same:+.2f}  "
        f"{time.perf_counter() - start:5.0f} s",
        flush=True,
    )
    keras.utils.clear_session()
    return right


def main(_) -> int:
    """Checks all backbones of images that match the filter."""
    names = [n for n in BACKBONES.names(FILTER.value) if BACKBONES.get(n).input == "image"]
    chosen = [n for n in names if (BACKBONES.get(n).parameters or 0) >= LEAST.value]
    results = [check(name) for name in chosen]
    return int(not all(results))


if __name__ == "__main__":
    app.run(main)

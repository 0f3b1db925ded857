import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from ends_at_once import AT_ONCE
from variants import further

from tlkeras.config import HeadConfig, ModelConfig, NeckConfig
from tlkeras.models import build_model

# Keras' own way of turning variables into arrays, which NumPy 2 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def build(backbone="small_cnn", side=16, seed=0, weights=None, **options):
    config = ModelConfig(backbone=backbone, weights=weights, **options)
    shape = (side,) if backbone == "mlp" else (side, side, 3)
    return build_model(config, input_shape=shape, num_outputs=4, seed=seed)


def fit(model, x, y, steps=3, rate=0.05):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    model.fit(x, y, batch_size=len(x), epochs=steps, verbose=0)


def assert_same_logits(received, expected):
    """Equal up to rounding: float32 is 1e-3 of the spread away from float64 in a deep random network."""
    expected = np.asarray(expected)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(received, expected, rtol=0, atol=2e-3 * expected.std())


@pytest.mark.parametrize(
    ("backbone", "side"),
    [("resnet50", 32), ("mlp", 9), further("mobilenet_v2", 32), further("nasnet_mobile", 32)],
)
def test_parts_at_any_cut_give_the_same_logits(backbone, side, pixels, randomise_statistics):
    model = build(backbone, side)
    x = pixels(3, side) if backbone != "mlp" else np.random.default_rng(0).normal(size=(3, side))
    randomise_statistics(model.backbone, model.preprocess(x))
    expected = np.asarray(model(x))
    for train in ("head", "last:1", f"last:{len(model.blocks) - 1}"):
        model.select(train)
        assert_same_logits(model(x), expected)
        assert_same_logits(model.on_features()(model.trunk()(x)), expected)
    assert_same_logits(model.to_functional()(x), expected)
    assert_same_logits(model.classify(model.features(x)), expected)


@pytest.mark.parametrize("train", ["head", "last:1"])
def test_training_on_features_equals_training_on_pixels(train, pixels, randomise_statistics):
    x, y = pixels(6, 16), np.arange(6) % 4
    straight, cached = build(), build()
    for model in (straight, cached):
        randomise_statistics(model.backbone, model.preprocess(x))
        model.select(train)
    fit(straight, x, y)
    fit(cached.on_features(), np.asarray(cached.trunk()(x)), y)
    for a, b in zip(straight.variables, cached.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=a.path)
    assert np.abs(straight.head.variables[0] - build().head.variables[0]).max() > 1e-3


def test_on_features_trains_the_same_variables_as_the_whole():
    model = build()
    model.select("last:2", "train")
    whole = [v.path for v in model.trainable_variables]
    assert [v.path for v in model.on_features().trainable_variables] == whole


def test_without_anything_frozen_there_is_no_trunk():
    model = build()
    model.select("all")
    with pytest.raises(ValueError, match="Nothing is frozen"):
        model.trunk()


def weights(model):
    return {v.path: v.numpy() for v in model.variables}


@pytest.mark.parametrize("backbone", ["small_cnn", "mobilenet_v3_small"])
def test_weights_are_a_function_of_the_seed(backbone):
    first = weights(build(backbone, 32, neck=NeckConfig(bottleneck=5, dropout=0.5)))
    keras.layers.Dense(3).build((None, 3))
    again = weights(build(backbone, 32, neck=NeckConfig(bottleneck=5, dropout=0.5)))
    other = weights(build(backbone, 32, seed=1, neck=NeckConfig(bottleneck=5, dropout=0.5)))
    assert list(first) == list(again)
    assert any("seed_generator_state" in path for path in first)
    for path, value in first.items():
        np.testing.assert_array_equal(value, again[path])
        constant = value.size < 2 or np.unique(value).size == 1
        assert constant or not np.array_equal(value, other[path]), path


def test_layers_of_one_shape_start_differently():
    model = build("mlp", 8, backbone_options={"units": (8, 8)})
    a, b = (model.backbone.get_layer(f"dense_{i}").kernel.numpy() for i in (1, 2))
    assert not np.array_equal(a, b)


def test_the_seed_of_the_head_does_not_hang_on_the_backbone():
    a, b = build("vgg16", 32), build("mlp", 9, backbone_options={"units": (512,)})
    np.testing.assert_array_equal(a.head.get_layer("logits").kernel, b.head.get_layer("logits").kernel)


def test_paths_of_variables_are_unique_and_plain():
    paths = list(weights(build("inception_v3", 75)))
    assert len(paths) == len(set(paths))
    assert "conv2d/kernel" in paths and "logits/kernel" in paths


OPEN = """
import keras, numpy as np, sys
for name in sys.argv[1:]:
    model = keras.models.load_model(name + ".keras")
    assert not [m for m in sys.modules if m.startswith("tlkeras")]
    assert type(model).__name__ == "Functional"
    paths = [v.path for v in model.weights]
    np.savez(name + "_out.npz", logits=model(np.load(name + ".npy")), paths=paths)
"""


def test_saved_models_open_without_tlkeras(tmp_path, pixels, randomise_statistics, relative_difference):
    # A channel flip; layers that keras.applications defines; a rescaling of their own.
    sides = {"resnet50": 32, "convnext_tiny": 32, "efficientnet_b0": 32, "small_cnn": 16}
    expected = {}
    for name, side in sides.items():
        model = build(name, side, neck=NeckConfig(bottleneck=8, dropout=0.2))
        x = pixels(4, side)
        randomise_statistics(model.backbone, model.preprocess(x))
        model.to_functional().save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", x)
        expected[name] = (model.to_functional()(x), [v.path for v in model.to_functional().weights])
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", AT_ONCE + OPEN, *sides]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    for name, (logits, paths) in expected.items():
        out = np.load(tmp_path / f"{name}_out.npz")
        assert relative_difference(logits, out["logits"]) < 1e-5
        # ConvNeXt's stem is a Sequential, which Keras names otherwise when it loads one.
        assert out["paths"].tolist() == paths or name == "convnext_tiny"


def test_the_functional_model_follows_training(pixels):
    model = build()
    x, y = pixels(4, 16), np.arange(4)
    functional = model.to_functional()
    before = np.asarray(functional(x))
    model.select("all", "train")
    fit(model, x, y)
    assert functional is model.to_functional()
    assert_same_logits(functional(x), model(x))
    assert np.abs(np.asarray(functional(x)) - before).max() > 1e-3


def test_a_model_with_a_cosine_head_opens_with_tlkeras(tmp_path, pixels):
    model = build(head=HeadConfig(name="cosine"))
    model.to_functional().save(tmp_path / "best.keras")
    x = pixels(2, 16)
    assert_same_logits(keras.models.load_model(tmp_path / "best.keras")(x), model(x))

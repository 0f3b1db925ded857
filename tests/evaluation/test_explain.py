"""Explanations against closed forms, known places and randomised weights."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import ModelConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.explain import (
    cam_layer,
    explain_images,
    flattened,
    grad_cam,
    heat_of,
    integrated_gradients,
    occlusion,
)
from tlkeras.models import BACKBONES, build_model
from tlkeras.models.cuts.graph import output_of


def network(backbone="small_cnn", size=32, outputs=3, **options):
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options)
    model = build_model(config, input_shape=(size, size, 3), num_outputs=outputs, seed=1).to_functional()
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # else all is 1e-13 at depth
            shape = layer.moving_mean.shape
            layer.moving_mean.assign(rng.normal(0, 0.1, shape))
            layer.moving_variance.assign(rng.uniform(0.05, 0.2, shape))
    return model


def images(size=32, count=3):
    return np.random.default_rng(2).uniform(0, 255, (count, size, size, 3)).astype("float32")


@pytest.mark.parametrize(
    ("backbone", "size", "options"),
    [
        ("small_cnn", 32, {}),
        ("mobilenet", 64, {"alpha": 0.25}),
        ("mobilenet_v2", 64, {"alpha": 0.35}),
        ("efficientnet_lite0", 64, {}),
    ],
)
def test_grad_cam_is_class_activation_mapping_for_a_linear_head(backbone, size, options):
    # After average pooling and a linear head both are one map (Selvaraju et al. 2017, section 3.1).
    model, x = network(backbone, size, **options), images(size)
    layer = cam_layer(model, backbone)
    assert layer == BACKBONES.get(backbone).grad_cam
    maps = keras.Model(model.inputs, output_of(model, layer)).predict(x, verbose=0)
    kernel = next(part for part in reversed(model.layers) if hasattr(part, "kernel")).kernel.numpy()
    found = grad_cam(model, x, np.array([0, 1, 2]))
    for i in range(3):
        expected = np.maximum(maps[i] @ kernel[:, i], 0)
        expected = keras.ops.image.resize(expected[..., None], (size, size))[..., 0].numpy()
        np.testing.assert_allclose(found[i], expected / max(expected.max(), 1e-30), atol=2e-4)


def names(model):
    return [layer.name for layer in model.layers]


@pytest.mark.parametrize("pooling", ["class", "avg"])
def test_grad_cam_of_a_vision_transformer_weights_the_patches_of_its_last_block(pooling):
    options = {"width": 12, "depth": 2, "heads": 3, "patch": 8}
    neck = NeckConfig(pooling=pooling)
    config = ModelConfig(backbone="deit_tiny_distilled", weights=None, backbone_options=options, neck=neck)
    model = build_model(config, input_shape=(32, 48, 3), num_outputs=3, seed=1).to_functional()
    for weight in model.trainable_variables:  # fresh ones are so small that all tokens are alike
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=len(weight.path)))
    x = np.random.default_rng(2).uniform(0, 255, (3, 32, 48, 3)).astype("float32")
    assert cam_layer(model, "deit_tiny_distilled") == "block_1_norm_1"
    both = keras.Model(model.inputs[0], [output_of(model, "block_1_norm_1"), model.outputs[0]])
    with tf.GradientTape() as tape:
        tokens, logits = both(x)
        score = tf.reduce_sum(logits[:, 1])
    patches = tokens[:, 2:]  # behind class and distillation token
    gradients = tape.gradient(score, tokens)[:, 2:]
    heat = tf.nn.relu(tf.reduce_sum(tf.reduce_mean(gradients, 1, keepdims=True) * patches, -1))
    heat = tf.image.resize(tf.reshape(heat, (3, 4, 6, 1)), (32, 48))[..., 0].numpy()
    assert heat.std() > 0
    heat /= heat.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(grad_cam(model, x, np.array([1, 1, 1])), heat, atol=1e-5)


def test_grad_cam_of_swin_is_class_activation_mapping():
    model, x = network("swin_tiny", 32, width=12, depths=[2, 2], heads=1, window=4), images()
    assert cam_layer(model, "swin_tiny") == cam_layer(model) == "norm"
    maps = keras.Model(model.inputs, output_of(model, "norm")).predict(x, verbose=0)
    kernel = next(part for part in reversed(model.layers) if hasattr(part, "kernel")).kernel.numpy()
    heat = np.maximum(np.einsum("bhwc,c->bhw", maps, kernel[:, 1]), 0)
    heat = keras.ops.image.resize(heat[..., None], (32, 32))[..., 0].numpy()
    found = grad_cam(model, x, np.array([1, 1, 1]))
    np.testing.assert_allclose(found, heat / heat.max(axis=(1, 2), keepdims=True), atol=1e-4)


def test_a_map_of_one_position_is_not_explained():
    """ConvNeXt V2 divides 32 pixels by 32: the map before has 2 x 2 positions."""
    model, x = network("convnextv2_atto", 32, depths=[1, 1, 1, 1], width=4), images()
    assert cam_layer(model, "convnextv2_atto") == "stage_3_downsample_norm"
    maps, method = explain_images(model, x, backbone="convnextv2_atto")
    assert method == "Grad-CAM" and (maps.std(axis=(1, 2)) > 0).any()
    with pytest.raises(UserError, match="needs a layer with outputs"):
        grad_cam(model, x, layer="stage_3_block_0_add")


def test_a_nested_backbone_gives_the_map_of_the_flat_model():
    inner_in = keras.Input((16, 16, 3))
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="inner_conv")(inner_in)
    inner = keras.Model(inner_in, keras.layers.BatchNormalization()(maps), name="inner")
    outer_in = keras.Input((16, 16, 3))
    x = inner(keras.layers.Rescaling(1 / 255)(outer_in), training=False)
    logits = keras.layers.Dense(2)(keras.layers.GlobalMaxPooling2D()(x))
    nested = keras.Model(outer_in, logits)
    x = images(16)
    flat = flattened(nested)
    assert "inner_conv" in names(flat) and "inner" not in names(flat)
    np.testing.assert_allclose(flat(x), nested(x), rtol=1e-5)
    np.testing.assert_array_equal(
        grad_cam(nested, x, layer="inner_conv"), grad_cam(flat, x, layer="inner_conv")
    )


def test_randomised_weights_change_the_maps():
    """The sanity check of Adebayo et al. (2018): a map that ignores the weights explains nothing."""
    model, x = network(), images()
    before = [grad_cam(model, x, [0, 0, 0]), heat_of(integrated_gradients(model, x, [0, 0, 0], steps=4))]
    rng = np.random.default_rng(5)
    for variable in model.trainable_variables:
        variable.assign(rng.permutation(variable.numpy().ravel()).reshape(variable.shape))
    after = [grad_cam(model, x, [0, 0, 0]), heat_of(integrated_gradients(model, x, [0, 0, 0], steps=4))]
    for old, new in zip(before, after, strict=True):
        assert abs(np.corrcoef(old.ravel(), new.ravel())[0, 1]) < 0.9


def test_integrated_gradients_add_up_to_the_difference_of_logits():
    model, x = network(), images(count=2)
    parts = integrated_gradients(model, x, np.array([2, 1]), steps=64)
    difference = (model(x) - model(np.zeros_like(x))).numpy()
    np.testing.assert_allclose(parts.sum(axis=(1, 2, 3)), [difference[0, 2], difference[1, 1]], rtol=0.02)


def test_occlusion_finds_the_only_pixels_that_count():
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Cropping2D(((4, 8), (8, 4)))(inputs)  # rows 4..7, columns 8..11
    x = keras.layers.GlobalAveragePooling2D()(x)
    dense = keras.layers.Dense(2)
    model = keras.Model(inputs, dense(x))
    dense.kernel.assign([[0.0, 0.02]] * 3)
    lost = occlusion(model, np.full((1, 16, 16, 3), 200.0, "float32"), [1], patch=4, stride=4, fill=0)
    assert lost[0, 4:8, 8:12].min() > 0.1
    lost[0, 4:8, 8:12] = 0
    assert np.abs(lost).max() < 1e-6


def test_the_two_sides_of_a_single_logit_are_explained_apart():
    model, x = network(outputs=1), images()
    one, other = grad_cam(model, x, [1, 1, 1]), grad_cam(model, x, [0, 0, 0])
    assert not np.array_equal(one, other)
    assert (np.minimum(one, other) < 0.5).any()


def pointing_game(maps: np.ndarray, places: np.ndarray) -> float:
    """Returns how often the hottest pixel lies on the object (Zhang et al. 2018, section 4.1)."""
    hottest = maps.reshape(len(maps), -1).argmax(axis=1)
    return float(places.reshape(len(maps), -1)[np.arange(len(maps)), hottest].mean())


def test_the_hottest_pixel_lies_on_the_object():
    """A colour patch at a known place decides the class; the maps must point at it."""
    x, y, _ = patches(192)
    model = pointing_network()
    model.fit(x, y, epochs=12, batch_size=32, verbose=0)
    x, y, places = patches(64, seed=1)
    assert (model.predict(x, verbose=0).argmax(1) == y).mean() > 0.9
    score = pointing_game(grad_cam(model, x, y), places)
    assert score > 0.8, score
    assert pointing_game(grad_cam(pointing_network(), x, y), places) < 0.6


def patches(count, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(60, 120, (count, 48, 48, 3))
    y, places = np.arange(count) % 2, np.zeros((count, 48, 48), bool)
    for i, (top, left) in enumerate(rng.integers(0, 32, (count, 2))):
        places[i, top : top + 16, left : left + 16] = True
        x[i, places[i]] = (250, 30, 30) if y[i] else (30, 30, 250)
    return x.astype("float32"), y, places


def pointing_network():
    keras.utils.set_random_seed(3)
    model = network(size=48, outputs=2)
    model.compile(keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_a_model_without_spatial_layers_is_refused_by_name():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
    with pytest.raises(UserError, match="spatial layers: none"):
        grad_cam(model, np.zeros((1, 4), "float32"))
    images = keras.Input((8, 8, 3))
    model = keras.Model(images, keras.layers.Dense(2)(keras.layers.Flatten()(images)))
    maps, method = explain_images(model, np.ones((2, 8, 8, 3), "float32"))
    assert maps.shape == (2, 8, 8) and method == "integrated gradients"


def test_the_heat_lies_on_the_cat_and_on_the_motorcycle():
    """EfficientNet-Lite0 with its ImageNet classes on two photos; the net is one nested layer here."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
    import grad_cam_photos

    model, photos = grad_cam_photos.classifier(), grad_cam_photos.photos()
    maps = grad_cam(model, np.stack(list(photos.values())), layer="top_activation")
    for name, heat in zip(photos, maps, strict=True):
        assert grad_cam_photos.share_inside(heat, grad_cam_photos.PLACES[name]) > 0.8, name
    top, left = np.unravel_index(maps[1].argmax(), maps[1].shape)
    assert 0.25 < top / 224 < 0.8 and 0.2 < left / 224 < 0.85

"""Attention rollout and relevance of vision transformers, against their formulas."""

import keras
import numpy as np
import pytest
from keras import ops

from tlkeras.errors import UserError
from tlkeras.evaluation.attention_maps import attention_relevance, attention_rollout
from tlkeras.models.backbones.swin import swin
from tlkeras.models.backbones.transformer import vision_transformer
from tlkeras.models.cuts.graph import replay

SIDE, PATCH, HEADS = 12, 4, 2
GRID = (SIDE // PATCH, SIDE // PATCH)


def network(depth, reads="class", prefix=1):
    """A classifier on a small vision transformer with weights that make its answers differ."""
    backbone = vision_transformer(
        (SIDE, SIDE, 3), width=8, depth=depth, heads=HEADS, patch=PATCH, prefix_tokens=prefix
    )
    inputs = keras.Input((SIDE, SIDE, 3))
    tokens = backbone(keras.layers.Rescaling(1 / 127.5, -1)(inputs))
    read = tokens[:, 0] if reads == "class" else ops.mean(tokens[:, prefix:], axis=1)
    model = keras.Model(inputs, keras.layers.Dense(3)(read))
    rng = np.random.default_rng(1)
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(0, 0.5, variable.shape))
    return model


def images(count=3):
    return np.random.default_rng(0).uniform(0, 255, (count, SIDE, SIDE, 3)).astype("float32")


def attention_of(model, x, change=None):
    """Attention of each block `(b, heads, t, t)` and the logits; `change` is added to the attention."""
    found = []

    def attend(query, key, value, **_):
        scores = ops.einsum("btnh,bsnh->bnts", query, key) / query.shape[-1] ** 0.5
        weights = ops.softmax(scores) + (0 if change is None else change[len(found)])
        found.append(weights.numpy())
        return ops.einsum("bnts,bsnh->btnh", weights, value)

    def instead(operation):
        if isinstance(operation, keras.Model):
            return lambda x, **_: replay(operation, x, instead)
        return attend if type(operation).__name__ == "DotProductAttention" else operation

    return found, replay(model, ops.convert_to_tensor(x), instead).numpy()


def as_map(rows):
    heat = rows.reshape(-1, *GRID)
    return heat / heat.max(axis=(1, 2), keepdims=True)


@pytest.mark.parametrize("prefix", [1, 3])
def test_rollout_multiplies_the_mean_attention_of_all_blocks(prefix):
    model, x = network(depth=3, prefix=prefix), images()
    expected = np.eye(prefix + 9)
    for attention in attention_of(model, x)[0]:
        expected = (0.5 * attention.mean(axis=1) + 0.5 * np.eye(prefix + 9)) @ expected
    found = attention_rollout(model, x, size=GRID)
    np.testing.assert_allclose(found, as_map(expected[:, 0, prefix:]), atol=1e-5)


def test_a_mean_of_patches_is_explained_by_the_rows_of_all_patches():
    model, x = network(depth=1, reads="mean"), images()
    (attention,) = attention_of(model, x)[0]
    rows = (0.5 * attention.mean(axis=1) + 0.5 * np.eye(10))[:, 1:, 1:]
    # a patch counts by the size of the gradient at its token, which a LayerNormalization does not change here
    np.testing.assert_allclose(attention_rollout(model, x, size=GRID), as_map(rows.mean(axis=1)), atol=1e-5)


@pytest.mark.parametrize("target", [0, 2])
def test_relevance_is_attention_times_its_gradient(target):
    model, x = network(depth=1), images(1)
    (attention,), _ = attention_of(model, x)
    step, slope = 1e-2, np.zeros((HEADS, 10))
    for head, token in np.ndindex(HEADS, 10):
        change = np.zeros_like(attention)
        change[0, head, 0, token] = step
        up, down = (attention_of(model, x, [sign * change])[1][0, target] for sign in (1, -1))
        slope[head, token] = (up - down) / (2 * step)
    helpful = np.maximum(slope * attention[0, :, 0], 0).mean(axis=0)
    found = attention_relevance(model, x, targets=[target], size=GRID)
    np.testing.assert_allclose(found, as_map(helpful[1:]), atol=1e-2)


def test_relevance_depends_on_the_class_and_rollout_does_not():
    model, x = network(depth=2), images()
    one, two = (attention_relevance(model, x, targets=[c] * 3, size=GRID) for c in (0, 1))
    assert np.abs(one - two).max() > 0.1
    one, two = (attention_rollout(model, x, targets=[c] * 3, size=GRID) for c in (0, 1))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_a_network_without_attention_between_all_patches_is_refused():
    inputs = keras.Input((SIDE, SIDE, 3))
    convolution = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(3, 3)(inputs))
    maps = swin((SIDE, SIDE, 3), width=8, depths=[1], heads=1, window=3)(inputs)
    windows = keras.layers.GlobalAveragePooling2D()(maps)
    for output in (convolution, windows):
        for explain in (attention_rollout, attention_relevance):
            with pytest.raises(UserError, match=r"vision transformer .* use grad_cam"):
                explain(keras.Model(inputs, output), images())

"""Every regularizer, values and gradients, against the formulas of the papers in plain NumPy."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.config import ModelConfig, NeckConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.methods.regularize import REGULARIZERS, make_regularizer
from tlkeras.methods.regularize.forward_passes import StochasticNormalization
from tlkeras.methods.regularize.starting_point import evenly_taken
from tlkeras.methods.term import Pair, Setting
from tlkeras.models import build_model
from tlkeras.models.cuts.graph import output_of, replay

SHAPES = [(4, 3), (6, 11), (32, 10), (256, 65)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def arrays(shape, count=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype("float32") for _ in range(count)]


def softmax(x):
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def compare(loss, inputs, value, gradients):
    """Compares a loss of tensors, and its gradients, with what a paper says."""
    tensors = [tf.constant(x, tf.float32) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        found = loss(*tensors)
    assert float(found) == pytest.approx(value, rel=1e-5, abs=1e-6)
    for left, right in zip(tape.gradient(found, tensors), gradients, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * max(1, np.abs(right).max()))


@shapes
def test_l2_sp(shape):  # Li et al. 2018, eq. 1 without the head
    now, start = arrays(shape)
    regularizer = make_regularizer("l2_sp")
    regularizer._start = [keras.Variable(start), keras.Variable(start[0])]
    regularizer._factors = [1.0, 1.0]

    def loss(kernel, bias):
        regularizer._variables = [kernel, bias]
        return regularizer.loss()

    apart = [now - start, now[1] - start[0]]
    compare(loss, [now, now[1]], 0.5 * sum(np.linalg.norm(a.astype(float)) ** 2 for a in apart), apart)


@pytest.mark.parametrize("shape", [(2, 3, 3, 2), (3, 7), (8, 4, 5, 6), (32, 14, 14, 40)], ids=str)
def test_delta(shape):  # Li et al. 2019, eq. 4 of two blocks, all filters alike, over rows and positions
    now, start = arrays(shape)
    regularizer = make_regularizer("delta")
    regularizer._variables, regularizer._start, regularizer._inputs = [], [], None
    regularizer._maps = lambda x, training: [tf.constant(start), tf.constant(2 * start)]

    def loss(first, second):
        regularizer._now = [first, second]
        return regularizer.loss()

    value = 0.0
    for a, b in ((now, start), (now, 2 * start)):
        for row in range(len(a)):
            for j in range(shape[-1]):
                value += 0.5 * np.linalg.norm((a[row, ..., j] - b[row, ..., j]).astype(float)) ** 2
    positions = now[..., 0].size  # of all rows
    gradients = [(now - start) / positions, (now - 2 * start) / positions]
    compare(loss, [now, now], value / positions, gradients)


@pytest.mark.parametrize(
    ("total", "count", "places"),
    [(1, 4, [0]), (2, 4, [0, 1]), (3, 4, [0, 1, 2]), (4, 4, [0, 1, 2, 3]), (5, 4, [0, 1, 2, 4]),
     (8, 4, [1, 3, 5, 7]), (16, 4, [3, 7, 11, 15]), (7, 1, [6])],
)  # fmt: skip
def test_blocks_are_taken_once_and_the_last_is_one(total, count, places):
    assert evenly_taken(total, count) == places


@shapes
@pytest.mark.parametrize("k", [1, 2])
def test_bss(shape, k):  # Chen et al. 2019, eq. 6
    (features,) = arrays(shape, 1)
    left, values, right = np.linalg.svd(features.astype(float), full_matrices=False)
    gradient = 2 * (left[:, -k:] * values[-k:]) @ right[-k:]
    regularizer = make_regularizer("bss", options={"k": k})
    compare(
        lambda f: regularizer.loss(Pair(f, None)),
        [features],
        (values[-k:] ** 2).sum(),
        [gradient],
    )


@pytest.mark.parametrize("smallest", [1e-2, 1e-3, 1e-4])
def test_bss_sees_a_singular_value_far_below_the_largest(smallest):
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.normal(size=(n, 8)))[0] for n in (32, 20))
    features = ((left * [100, 50, 20, 10, 5, 2, 1, 100 * smallest]) @ right.T).astype("float32")
    expected = np.linalg.svd(features.astype(float), compute_uv=False)[7]
    regularizer = make_regularizer("bss", options={"k": 13})  # the twelve others are nothing but rounding
    found = float(regularizer.loss(Pair(features, None)))
    assert np.sqrt(found) == pytest.approx(expected, rel=5e-3)


@shapes
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_distillation(shape, temperature):  # Hinton et al. 2015, section 2
    student, teacher = (5 * x for x in arrays(shape))
    regularizer = make_regularizer("distillation", options={"temperature": temperature})
    regularizer._model = lambda x, training: tf.constant(teacher)
    q, p = (softmax(x.astype(float) / temperature) for x in (student, teacher))
    value = temperature**2 * np.mean([np.sum(a * np.log(a / b)) for a, b in zip(p, q, strict=True)])
    compare(
        lambda x: regularizer.loss(None, Pair(x, None)),
        [student], value, [temperature * (q - p) / len(p)],
    )  # fmt: skip


@shapes
def test_co_tuning(shape):  # You et al. 2020, eq. 3
    features, kernel = arrays(shape, 1)[0], arrays((shape[1], 7), 1, seed=1)[0]
    relation, labels = softmax(arrays((3, 7), 1, seed=2)[0]), np.arange(len(features)) % 3
    regularizer = make_regularizer("co_tuning")
    regularizer._relation, regularizer._bias = tf.constant(relation), np.linspace(-1, 1, 7, dtype="float32")

    def loss(features, kernel):
        regularizer._kernel = kernel
        return regularizer.loss(Pair(features, None), labels)

    q = softmax(features.astype(float) @ kernel + regularizer._bias)
    wanted = relation[labels]
    by_logit = (q - wanted) / len(q)
    gradients = [by_logit @ kernel.T, features.T @ by_logit]
    compare(loss, [features, kernel], -np.mean((wanted * np.log(q)).sum(axis=1)), gradients)


@shapes
def test_mixout(shape):  # Lee et al. 2020, eq. 1
    now, start = arrays(shape)
    regularizer = make_regularizer("mixout", 0.7)
    regularizer._seed = 0
    variable = tf.constant(now)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        mixed = regularizer._mixed(0, variable, tf.constant(start), 5)
    kept = np.isclose(mixed, start, rtol=1e-5, atol=1e-6)  # (w0 - p w0) / (1 - p)
    expected = np.where(kept, start, (now - 0.7 * start) / 0.3)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(tape.gradient(mixed, variable), np.where(kept, 0, 1 / 0.3), rtol=1e-5)
    assert abs(kept.mean() - 0.7) < 5 * np.sqrt(0.21 / kept.size)


@shapes
def test_lora(shape):  # Hu et al. 2022, section 4.1
    rows, columns = shape
    kernel, a, b = (arrays(s, 1, seed=i)[0] for i, s in enumerate([shape, (rows, 2), (2, columns)]))
    regularizer = make_regularizer("lora", 0.5, {"rank": 2})
    regularizer._start = [keras.Variable(kernel)]
    slope = arrays(shape, 1, seed=9)[0]

    def loss(a, b):
        regularizer._pairs = [(a, b)]
        return tf.reduce_sum(regularizer._sums()[0] * slope)

    exact = slope.astype(float)
    value = float((exact * (kernel + 0.5 * a.astype(float) @ b)).sum())
    compare(loss, [a, b], value, [0.5 * exact @ b.T, 0.5 * a.T @ exact])


# equation of a layer, shapes of its inputs, its kernel and its outputs, and inputs + outputs of the matrix
ATTENTION = {
    "query": ("btd,dnh->btnh", (5, 6), (6, 3, 4), (5, 3, 4), 6 + 12),
    "output": ("btnh,nhd->btd", (5, 3, 4), (3, 4, 6), (5, 6), 12 + 6),
    "patches": ("btp,pd->btd", (5, 9), (9, 6), (5, 6), 9 + 6),
    "scale": ("btd,d->btd", (5, 6), (6,), (5, 6), None),
    "table": ("bo,ots->bts", (1,), (1, 5, 5), (5, 5), None),
}


@pytest.mark.parametrize("name", ATTENTION)
def test_lora_of_an_attention_is_a_matrix_of_all_heads(name):
    equation, inputs, shape, outputs, both = ATTENTION[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, *inputs)).astype("float32")
    layer = keras.layers.EinsumDense(equation, outputs, name=name)
    model = keras.Sequential([keras.Input(inputs), layer])
    model.backbone = model.tail = model
    setting = Setting(model, stage=StageConfig(name="a", train="all"))
    term = make_regularizer("lora", None, {"rank": 2, "alpha": 6})
    if both is None:
        with pytest.raises(UserError, match="lora finds no kernel"):
            term.act_on(setting)
        return
    term.act_on(setting)
    ((a, b),) = term._pairs
    assert term.weight == 3 and a.shape[-1] == b.shape[0] == 2
    assert sum(np.prod(v.shape) for v in term.own.trainable_variables) == 2 * both
    b.assign(rng.normal(size=b.shape))
    before = layer(x)
    layer.kernel.assign(term._sums()[0])
    update = 3 * (a.numpy().astype(float) @ b.numpy()).reshape(shape)
    unmerged = before + np.einsum(equation, x.astype(float), update)
    np.testing.assert_allclose(layer(x), unmerged, rtol=0, atol=1e-6 * np.abs(unmerged).max())


@shapes
def test_stochastic_norm(shape):  # Kou et al. 2020, eq. 4-6
    (x,) = arrays(shape, 1)
    layer = keras.layers.BatchNormalization(momentum=0.9)
    layer.build(shape)
    gamma, beta, mean, variance = (np.linspace(a, a + 1, shape[1]) for a in (0.5, -1.0, 0.2, 1.0))
    layer.set_weights([gamma, beta, mean, variance])
    stochastic = StochasticNormalization(layer, 0.5, seed=1)
    stochastic.clock = SimpleNamespace(step=3)
    found = stochastic(x, training=True).numpy()
    by = lambda m, v: gamma * (x - m) / np.sqrt(v + layer.epsilon) + beta  # noqa: E731
    moving, batch = by(mean, variance), by(x.mean(axis=0), x.var(axis=0))
    chosen = np.isclose(found, moving, rtol=1e-5, atol=1e-5).all(axis=0)
    np.testing.assert_allclose(found, np.where(chosen, moving, batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "train"),
    [
        ("deit_tiny_distilled", "all"),
        ("deit_tiny_distilled", "last:1"),
        ("clip_base_16", "all"),
        ("siglip_base", "all"),
    ],
)
def test_patch_dropout(backbone, train):  # Liu et al. 2023, section 3: only the tokens that stay exist
    options = {"width": 12, "depth": 2, "heads": 3, "patch": 8, "drop_path_rate": 0.0}
    neck = {} if backbone == "siglip_base" else {"pooling": "class_and_avg" if "deit" in backbone else "avg"}
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options, neck=NeckConfig(**neck))
    model = build_model(config, input_shape=(32, 48, 3), num_outputs=3)
    for weight in model.trainable_variables:  # fresh ones are so small that all tokens are alike
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=len(weight.path)))
    model.select(train, "train")
    x = np.random.default_rng(1).uniform(0, 255, (2, 32, 48, 3)).astype("float32")
    term = make_regularizer("patch_dropout", 0.75)
    term.act_on(Setting(model, seed=4, stage=StageConfig(name="a", train=train)))
    features, logits = term.forward(model, x, tf.constant(3))
    again, other = (term.forward(model, x, tf.constant(step))[1] for step in (3, 5))
    np.testing.assert_array_equal(logits, again)
    assert np.abs(logits - other).max() > 1e-4
    # by hand: 6 of 24 patches of the tensor at the cut, each example on its own
    chosen = np.argsort(tf.random.stateless_uniform((2, 24), (4, 3)))[:, -6:]
    first = output_of(model.backbone, {"last:1": "block_0_add_2", "all": "stem"}[train])
    tokens = keras.Model(model.backbone.inputs, first)(model.preprocess(x)).numpy()
    prefix = tokens.shape[1] - 24
    kept = np.stack([t[[*range(prefix), *(prefix + c)]] for t, c in zip(tokens, chosen, strict=True)])
    tokens = replay(keras.Model(first, model.backbone.outputs[0]), kept).numpy()
    if backbone == "siglip_base":
        expected = tokens
    else:
        parts = [tokens[:, 0]] * ("deit" in backbone) + [tokens[:, prefix:].mean(axis=1)]
        expected = np.concatenate(parts, axis=-1)
    np.testing.assert_allclose(features, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("backbone", "pooling", "message"),
    [("dinov3_small", "avg", "table of positions"), ("vit_tiny", "flatten", "order of the patches")],
)
def test_patch_dropout_is_refused_where_patches_need_their_places(backbone, pooling, message):
    options = {"width": 12, "depth": 1, "heads": 3, "patch": 8}
    neck = NeckConfig(pooling=pooling)
    config = ModelConfig(backbone=backbone, weights=None, backbone_options=options, neck=neck)
    model = build_model(config, input_shape=(16, 16, 3), num_outputs=3)
    model.select("all")
    with pytest.raises(UserError, match=message):
        make_regularizer("patch_dropout").act_on(Setting(model, stage=StageConfig(name="a", train="all")))


def test_none_is_left_out():
    tested = {name.removeprefix("test_") for name in globals()}
    assert {"stochastic_norm", *REGULARIZERS.names()} <= tested

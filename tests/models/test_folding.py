"""Folded BatchNormalization: the same numbers, gradients and statistics as the plain model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tlkeras.models.cuts.folding import Folded

layers = keras.layers


def network(dtype="float32") -> keras.Model:
    """Every kind of convolution before BatchNormalization, and places where folding would be wrong."""
    x = inputs = keras.Input((16, 16, 3))
    options = {"dtype": dtype}
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False, name="conv", **options)(x)
    x = layers.ReLU(6.0, **options)(layers.BatchNormalization(name="conv_bn", **options)(x))
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise", **options)(x)
    x = layers.BatchNormalization(scale=False, name="depthwise_bn", **options)(x)
    x = layers.SeparableConv2D(8, 3, dilation_rate=2, padding="same", name="separable", **options)(x)
    x = layers.BatchNormalization(center=False, name="separable_bn", **options)(x)
    read_twice = layers.Conv2D(8, 1, name="read_twice", **options)(x)
    x = layers.Add(**options)([read_twice, layers.BatchNormalization(name="beside", **options)(read_twice)])
    x = layers.Conv2D(8, 1, activation="relu", name="with_activation", **options)(x)
    x = layers.Dropout(0.5, **options)(layers.BatchNormalization(name="after_activation", **options)(x))
    return keras.Model(inputs, layers.GlobalAveragePooling2D(**options)(x))


def with_statistics(model, seed=0) -> keras.Model:
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            for variable in layer.variables:
                variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif getattr(layer, "use_bias", False):
            layer.bias.assign(rng.normal(size=layer.bias.shape))
    return model


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    return with_statistics(network())


@pytest.fixture
def x():
    return np.random.default_rng(1).normal(size=(4, 16, 16, 3)).astype("float32")


def test_folds_only_what_nothing_else_reads(model):
    pairs = {conv.name: bn.name for conv, bn in Folded(model)._pairs.items()}
    assert pairs == {"conv": "conv_bn", "depthwise": "depthwise_bn", "separable": "separable_bn"}


def test_outputs_are_those_of_the_plain_model(model, x):
    expected = model(x, training=False).numpy()
    assert expected.std() > 0.1
    np.testing.assert_allclose(Folded(model)(x), expected, atol=1e-5)


def test_a_dict_of_outputs_keeps_its_names_and_an_output_is_not_folded_away(model, x):
    conv = model.get_layer("conv").output
    both = keras.Model(model.input, {"pooled": model.outputs[0], "after_conv": conv})
    expected, found = both(x, training=False), Folded(both)(x)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert np.std(values) > 0.1
        np.testing.assert_allclose(found[name], values, atol=1e-5)


def test_follows_new_weights(model, x):
    folded = Folded(model)
    before = folded(x).numpy()
    with_statistics(model, seed=7)
    expected = model(x, training=False).numpy()
    assert np.abs(expected - before).max() > 0.1
    np.testing.assert_allclose(folded(x), expected, atol=1e-5)


def test_gradients_reach_every_variable(model, x):
    variables = model.trainable_variables

    def gradients(call):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(call(x) ** 2)
        return tape.gradient(loss, [v.value for v in variables])

    expected = gradients(lambda x: model(x, training=False))
    for variable, ours, theirs in zip(variables, gradients(Folded(model)), expected, strict=True):
        scale = np.abs(theirs).max()
        assert scale > 0, variable.path
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * scale, err_msg=variable.path)


def test_statistics_move_in_training_where_the_layer_trains(model, x):
    model.get_layer("conv_bn").trainable = False
    moved = {}
    for name in ("conv_bn", "depthwise_bn"):
        moved[name] = model.get_layer(name).moving_mean.numpy()
    Folded(model)(x, training=True)
    assert np.array_equal(model.get_layer("conv_bn").moving_mean.numpy(), moved["conv_bn"])
    assert not np.array_equal(model.get_layer("depthwise_bn").moving_mean.numpy(), moved["depthwise_bn"])


def test_dropout_follows_the_argument(model, x):
    folded = Folded(model)
    assert np.array_equal(folded(x, training=False), folded(x, training=False))
    assert not np.array_equal(folded(x, training=True), folded(x, training=True))


def test_half_precision_is_left_as_it_is(x):
    model = with_statistics(network("mixed_bfloat16"))
    assert not Folded(model)._pairs
    assert np.array_equal(Folded(model)(x), model(x, training=False))


def test_the_shift_is_added_by_the_op_that_tensorflow_fuses(model, x):
    graph = tf.function(Folded(model)).get_concrete_function(x).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("BiasAdd") == 5  # three that are folded, two layers with a bias of their own


@pytest.mark.parametrize("options, one_operation", [
    ({}, True),
    ({"scale": False, "momentum": 0.7}, True),
    ({"center": False, "epsilon": 0.1}, True),
    ({"dtype": "mixed_bfloat16"}, True),
    ({"dtype": "mixed_float16"}, True),
    ({"dtype": "float64"}, False),
    ({"epsilon": 1e-7}, False),
    ({"synchronized": True}, False),
    ({"axis": 1}, False),
], ids=str)  # fmt: skip
def test_batch_statistics_are_those_of_keras_in_one_operation(x, options, one_operation):
    def trained(call, layer):
        for variable in layer.trainable_variables:
            variable.assign(np.linspace(0.5, 1.5, variable.shape[0]))
        with tf.GradientTape() as tape:
            tape.watch(inputs := tf.constant(x))
            outputs = call(inputs)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") ** 3)
        sources = [inputs, *(v.value for v in layer.trainable_variables)]
        moved = [v.numpy() for v in layer.non_trainable_variables]
        return [outputs.numpy().astype("float32"), *moved, *tape.gradient(loss, sources)]

    x = 3 * x[..., :4] + 1
    model = keras.Sequential([keras.Input(x.shape[1:]), layers.BatchNormalization(**options)])
    plain = keras.models.clone_model(model)
    expected = trained(lambda x: plain(x, training=True), plain.layers[0])
    found = trained(lambda x: Folded(model)(x, training=True), model.layers[0])
    for index, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        scale = np.abs(theirs).max()
        assert scale > 1e-3
        precision = 2e-2 if "dtype" in options else 1e-5 if index < 3 else 2e-4  # gradients come last
        np.testing.assert_allclose(ours, theirs, atol=precision * scale)
    graph = tf.function(lambda x: Folded(model)(x, training=True)).get_concrete_function(x).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert ("FusedBatchNormV3" in kinds) == one_operation

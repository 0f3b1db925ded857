"""Blocks, freezing, rates per depth and features of models that Keras' own `fit` trains."""

import keras
import numpy as np
import pytest

from tlkeras import extract_features, find_blocks, freeze, layer_decay
from tlkeras.errors import UserError


@pytest.fixture
def model():
    x = inputs = keras.Input((8, 8, 3))
    for width in (4, 4):
        y = keras.layers.Conv2D(width, 3, padding="same")(x)
        y = keras.layers.BatchNormalization()(y)
        y = keras.layers.Conv2D(width, 1)(keras.layers.Activation("relu")(y))
        x = keras.layers.Add()([y, x]) if x.shape[-1] == width else y
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2)(x))


DATA = np.random.default_rng(0).normal(size=(6, 8, 8, 3)).astype("float32"), np.arange(6) % 2


def weights(layer):
    return [np.array(w) for w in layer.get_weights()]


def test_a_residual_unit_is_one_block(model):
    blocks = find_blocks(model)
    sizes = [sum(bool(layer.weights) for layer in layers) for layers in blocks.values()]
    assert sizes == [2, 1, 3, 1]  # conv with normalisation, conv, the residual unit, the classifier
    assert list(blocks) == [
        layers[[bool(x.weights) for x in layers].index(True)].name for layers in blocks.values()
    ]


@pytest.mark.parametrize("train, opened", [("last:1", 1), ("last:2", 2), ("all", 4)])
def test_freeze_opens_exactly_the_last_blocks(model, train, opened):
    blocks = list(find_blocks(model).values())
    freeze(model, train)
    before = {layer.name: weights(layer) for layer in model.layers}
    model.compile(
        optimizer=keras.optimizers.SGD(0.5), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(*DATA, batch_size=6, verbose=0)
    for index, layers in enumerate(blocks):
        for layer in layers:
            same = all(np.array_equal(a, b) for a, b in zip(before[layer.name], weights(layer), strict=True))
            normalises = isinstance(layer, keras.layers.BatchNormalization)
            assert same == (normalises or not layer.weights or index < len(blocks) - opened), layer.name


def test_freeze_can_train_the_normalisation(model):
    normal = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    assert not freeze(model, "all").get_layer(normal.name).trainable
    assert freeze(model, "all", bn="train").get_layer(normal.name).trainable


def test_layer_decay_shrinks_the_step_of_earlier_blocks(model):
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    names = [layers[0].name for layers in find_blocks(model).values()]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    start = model.get_weights()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss)
    twin.compile(optimizer=layer_decay(keras.optimizers.SGD(0.1), twin, 0.5), loss=loss)
    for one in (model, twin):
        one.fit(*DATA, batch_size=6, verbose=0)
    kernels = [i for i, w in enumerate(model.weights) if w.path.endswith("kernel")]
    ratios = []
    for i in kernels:
        whole, part = model.get_weights()[i] - start[i], twin.get_weights()[i] - start[i]
        ratios.append(float(np.linalg.norm(part) / np.linalg.norm(whole)))
    # two kernels of the residual unit have one depth
    np.testing.assert_allclose(ratios, [0.125, 0.25, 0.5, 0.5, 1.0], rtol=1e-3)
    assert len(names) == 4


def test_features_are_what_the_classifier_sees(model):
    features = extract_features(model, DATA[0], batch_size=4)
    assert features.shape == (6, 4)
    kernel, bias = model.layers[-1].get_weights()
    np.testing.assert_allclose(features @ kernel + bias, model.predict(DATA[0], verbose=0), atol=1e-5)
    first = model.layers[1].name
    assert extract_features(model, DATA[0], layer=first).shape == (6, 8, 8, 4)
    with pytest.raises(UserError, match="Unknown layer"):
        extract_features(model, DATA[0], layer="nothing")


def test_blocks_of_a_known_backbone_have_its_names():
    network = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    assert list(find_blocks(network, "mobilenet_v2"))[:3] == ["Conv1", "expanded_conv", "block_1"]
    with pytest.raises(UserError, match="Did you mean 'mobilenet_v2'"):
        find_blocks(network, "mobilenetv2")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda model: freeze(model, "last:9"), "must lie in 1..4"),
        (lambda model: freeze(model, "first:2"), "train must be"),
        (lambda model: freeze(model, "all", bn="off"), "Unknown value of bn"),
        (lambda model: layer_decay(keras.optimizers.SGD(), model, 1.5), "must be in (0, 1]"),
    ],
)
def test_mistakes_are_one_line(model, call, message):
    with pytest.raises(UserError) as caught:
        call(model)
    assert message in str(caught.value)


class Subclassed(keras.Model):
    def call(self, x):
        return x


PLAIN = {
    "find_blocks": find_blocks,
    "freeze": lambda model: freeze(model, "last:1"),
    "layer_decay": lambda model: layer_decay(keras.optimizers.SGD(), model, 0.5),
    "extract_features": lambda model: extract_features(model, DATA[0]),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_model_without_a_graph_or_with_two_outputs_is_refused(model, name):
    layer = model.layers[1].name
    two = keras.Model(model.inputs, [model.layers[1].output, model.outputs[0]], name="two")
    for refused, words in (
        (Subclassed(name="own"), "graph of a functional Keras model.*Received: own of class Subclassed"),
        (keras.Sequential([keras.layers.Dense(2)], name="open"), "Received: open of class Sequential"),
        ("resnet50", "Received: 'resnet50' of class str"),
        (two, "Received: two with 2 outputs"),
    ):
        with pytest.raises(UserError, match=words):
            PLAIN[name](refused)
    assert extract_features(two, DATA[0], layer=layer).shape == (6, 8, 8, 4)

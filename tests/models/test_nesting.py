"""A whole earlier model as a part of another."""

import keras
import numpy as np
import pytest

from tlkeras.config import ModelConfig, NestedConfig
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.models.cuts.graph import leaf_layers

CNN = {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 6, 5], "dropout": 0.3}}


def built(shape=(8, 8, 3), seed=0, outputs=3, **changes):
    return build_model(ModelConfig(**CNN | changes), input_shape=shape, num_outputs=outputs, seed=seed)


@pytest.fixture
def source(tmp_path, pixels, randomise_statistics):
    """Returns the file of a model with four outputs, of the kind of backbone that will nest it."""
    model = built(seed=5, outputs=4)
    randomise_statistics(model.backbone, pixels(16, 8) / 255)
    model.to_functional().save(tmp_path / "source.keras")
    return tmp_path / "source.keras"


def trained_parts(model, x, train, bn="train"):
    """Takes a few steps on a selection; returns which parts of the model moved."""
    selection = model.select(train, bn)
    before = {v.path: v.numpy() for v in model.variables}
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    for _ in range(2):
        model.train_on_batch(x, np.ones((len(x), 3), "float32"))
    paths = {v.path: v for v in model.variables if v.path in before and "seed" not in v.path}
    moved = {path for path, v in paths.items() if not np.array_equal(before[path], v.numpy())}
    layers = {path.split("/")[-2].removesuffix("_bn") for path in moved}
    return selection, {"nested" if name.startswith("nested_") else name for name in layers}


def test_outputs_stand_beside_the_features(source, pixels):
    x = pixels(4, 8)
    model = built(nested={"source": str(source), "activation": "softmax"})
    alone = built()
    expected = keras.ops.softmax(keras.models.load_model(source)(x))
    features = model.features(x)
    np.testing.assert_allclose(features[:, :5], alone.features(x), atol=1e-6)
    np.testing.assert_allclose(features[:, 5:], expected, atol=1e-6)
    assert model.neck.output_shape == (None, 9)


def test_alone_its_logits_are_all_the_head_sees(source, pixels):
    nested = NestedConfig(source=str(source), join="alone")
    model = built(backbone="none", backbone_options={}, nested=nested)
    expected = keras.models.load_model(source)(pixels(4, 8))
    np.testing.assert_allclose(model.features(pixels(4, 8)), expected, atol=1e-6)
    assert model.blocks == ()
    with pytest.raises(UserError, match="has no blocks: use train='head'"):
        model.select("last:1")


@pytest.mark.parametrize("train", ["head", "last:1", "all", "regex:conv"])
def test_frozen_it_stays_in_every_stage(source, pixels, train):
    model = built(nested={"source": str(source)})
    selection, moved = trained_parts(model, pixels(8, 8), train)
    expected = {"head": set(), "last:1": {"conv_3"}}.get(train, {"conv_1", "conv_2", "conv_3"})
    assert moved == {"logits"} | expected
    assert [b.name for b in model.blocks] == ["conv_1", "conv_2", "conv_3"]
    assert selection.cut is not None  # so that it is called as in inference, and once where features are kept


@pytest.mark.parametrize("join", ["concat", "alone"])
def test_not_frozen_it_trains_where_the_stage_opens_it(source, pixels, join):
    rest = {"backbone": "none", "backbone_options": {}} if join == "alone" else {}
    model = built(nested={"source": str(source), "frozen": False, "join": join}, **rest)
    assert model.blocks[0].name == "nested"
    own = {"conv_1", "conv_2", "conv_3"} if join == "concat" else set()
    assert trained_parts(model, pixels(8, 8), "head")[1] == {"logits"}
    assert trained_parts(model, pixels(8, 8), "all")[1] == {"logits", "nested"} | own
    if join == "concat":
        assert trained_parts(model, pixels(8, 8), "last:3")[1] == {"logits"} | own
        assert trained_parts(model, pixels(8, 8), "regex:^nested_conv_2")[1] == {"logits", "nested"}


@pytest.mark.parametrize("train", ["head", "last:1", "last:2", "all"])
def test_what_lies_behind_the_cut_gives_the_same_logits(source, pixels, train, relative_difference):
    """The frozen trunk with the nested model in it puts out one tensor, from which the rest goes on."""
    model, x = built(nested={"source": str(source)}), pixels(6, 8)
    model.select(train)
    both = model.on_features()(model.trunk()(x))
    assert relative_difference(both, model(x)) < 1e-5
    nested = {layer.name for layer in leaf_layers([model.trunk()]) if layer.name.startswith("nested_conv")}
    assert nested >= {"nested_conv_1", "nested_conv_2", "nested_conv_3"}


def test_saved_it_opens_with_keras_alone(source, pixels, tmp_path, relative_difference):
    model = built(nested={"source": str(source), "frozen": False, "activation": "softmax"})
    trained_parts(model, pixels(8, 8), "all")
    model.to_functional().save(tmp_path / "whole.keras")
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    assert relative_difference(loaded(pixels(6, 8)), model(pixels(6, 8))) < 1e-4
    again = built(nested={"source": str(tmp_path / "whole.keras")})  # a nested model may hold another
    assert "nested_nested_conv_1" in {layer.name for layer in again.to_functional().layers}


def test_models_of_other_programs_can_be_nested(tmp_path):
    """A Sequential model with a model inside, and operations that are no layers."""
    inner = keras.Sequential([keras.Input((6,)), keras.layers.Dense(5, name="dense_1")], name="inner")
    inputs = keras.Input((6,))
    x = keras.ops.flip(inner(inputs), axis=-1) * 2.0
    keras.Model(inputs, x).save(tmp_path / "graph.keras")
    keras.Sequential([keras.Input((6,)), inner, keras.layers.Dropout(0.5)]).save(tmp_path / "row.keras")
    values = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    for name in ("graph.keras", "row.keras"):
        nested = {"source": str(tmp_path / name)}
        model = built((6,), backbone="mlp", backbone_options={"units": [7]}, nested=nested)
        expected = keras.models.load_model(tmp_path / name)(values)
        np.testing.assert_allclose(model.features(values)[:, 7:], expected, atol=1e-6)


def test_without_its_weights_it_is_its_architecture(source, pixels):
    random = built(nested={"source": str(source), "pretrained": False}).features(pixels(4, 8))[:, 5:]
    other = built(nested={"source": str(source), "pretrained": False}, seed=1).features(pixels(4, 8))[:, 5:]
    assert np.abs(random - keras.models.load_model(source)(pixels(4, 8))).max() > 1e-3
    assert np.abs(random - other).max() > 1e-6


def test_mistakes_are_one_line(source, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.keras").write_bytes(b"no model")
    (tmp_path / "weights.h5").write_bytes(b"")
    for name, words in (
        ("nowhere", "There is no such file or directory. Received: model.nested.source="),
        ("empty", "holds no best.keras"),
        ("broken.keras", "Keras cannot read"),
        ("weights.h5", "must end in .keras"),
    ):
        with pytest.raises(UserError, match=words) as error:
            built(nested={"source": str(tmp_path / name)})
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=r"have \(12, 12, 3\): set data.image_size=\[8, 8\]"):
        built((12, 12, 3), nested={"source": str(source)})
    with pytest.raises(UserError, match=r"inputs of \(8, 8, 3\), but the data have \(7,\)\. Received"):
        built((7,), backbone="mlp", backbone_options={}, nested={"source": str(source)})
    spatial = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    spatial.save(tmp_path / "maps.keras")
    with pytest.raises(UserError, match="one vector per example"):
        built(nested={"source": str(tmp_path / "maps.keras")})


def test_code_in_a_nested_file_is_refused(tmp_path):
    layer = keras.layers.Lambda(lambda x: x * 2)
    keras.Sequential([keras.Input((6,)), layer]).save(tmp_path / "code.keras")
    with pytest.raises(UserError, match="Keras cannot read"):
        built((6,), backbone="mlp", backbone_options={}, nested={"source": str(tmp_path / "code.keras")})

"""Private input branches in front of a backbone, and private branches in the neck."""

import keras
import numpy as np
import pytest

from tlkeras.config import AdapterConfig, HeadConfig, ModelConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.models.cuts.graph import output_of

VECTORS = np.random.default_rng(0).normal(size=(6, 10)).astype("float32")
MLP = {"backbone": "mlp", "weights": None, "backbone_options": {"units": [8, 7]}}


def built(shape, seed=0, **changes):
    return build_model(ModelConfig(**MLP | changes), input_shape=shape, num_outputs=3, seed=seed)


def step(model, x, train, bn="frozen"):
    """Takes one step on a selection; returns by layer name whether its weights moved."""
    selection = model.select(train, bn)
    before = {v.path: v.numpy() for v in model.variables}
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    model.train_on_batch(x, np.ones((len(x), 3), "float32"))
    known = [v for v in model.variables if v.path in before]
    moved = [v.path for v in known if not np.array_equal(before[v.path], v.numpy())]
    return selection, {path.split("/")[-2] for path in moved}


def test_an_adapter_trains_with_the_head_and_leaves_the_common_part():
    model = built((10,), adapter={"units": [12, 5], "activation": "tanh"})
    assert [block.name for block in model.blocks] == ["dense_1", "dense_2"]
    assert model.get_layer("mlp").get_layer("dense_1").kernel.shape == (5, 8)
    selection, moved = step(model, VECTORS, "head")
    assert moved == {"adapter_dense_1", "adapter_dense_2", "logits"}
    assert selection.blocks == ("adapter",) and selection.cut is None
    assert selection.depths["adapter_dense_1/kernel"] == 0
    _, moved = step(model, VECTORS, "last:1")
    assert moved == {"adapter_dense_1", "adapter_dense_2", "dense_2", "logits"}


def test_common_parts_of_different_inputs_are_one(tmp_path, pixels):
    """Pictures and vectors meet in one common part: its weights go from one to the other by name."""
    network = {"backbone": "small_cnn", "backbone_options": {"filters": [4]}, "pooling": "avg", "units": [5]}
    pictures = built((8, 8, 3), seed=1, adapter=network)
    names = {layer.name for layer in pictures.to_functional().layers}
    assert {"adapter_conv_1", "adapter_conv_1_bn", "adapter_dense_1", "dense_1"} <= names
    pictures.to_functional().save(tmp_path / "pictures.keras")
    loaded = keras.models.load_model(tmp_path / "pictures.keras")
    np.testing.assert_allclose(loaded(pixels(2, 8)), pictures(pixels(2, 8)), rtol=1e-5)
    vectors = built((10,), adapter={"units": [5]}, weights=str(tmp_path / "pictures.keras"))
    assert vectors.weights_report.matched == ("dense_1", "dense_2")
    for name in ("dense_1", "dense_2"):
        ours, theirs = (m.get_layer("mlp").get_layer(name).kernel for m in (vectors, pictures))
        np.testing.assert_array_equal(ours, theirs)
    assert vectors(VECTORS).shape == (6, 3)


def test_the_pixels_reach_an_adapter_as_its_network_wants_them(pixels):
    model = built((8, 8, 3), adapter={"backbone": "small_cnn", "pooling": "avg", "units": [5]})
    assert type(model.preprocess.layers[-1]) is keras.layers.Rescaling
    assert type(built((8, 8, 3), adapter={"units": [5]}).preprocess.layers[-1]) is keras.layers.Identity


def test_an_adapter_before_what_takes_pictures_is_refused():
    with pytest.raises(UserError, match=r"small_cnn takes images\. Received"):
        built((10,), backbone="small_cnn", backbone_options={}, adapter={"units": [5]})


@pytest.mark.parametrize("join, width", [("concat", 9), ("average", None)])
def test_private_branches_stand_side_by_side(pixels, join, width):
    last = 4 if join == "average" else 5
    branches = [{"units": [6, 4]}, {"units": [last], "pooling": "max", "dropout": 0.5}]
    neck = NeckConfig(branches=branches, join=join)
    options = {"backbone": "small_cnn", "backbone_options": {"filters": [4, 4]}}
    model = built((8, 8, 3), neck=neck, **options)
    assert model.neck.output_shape == (None, width or 4)
    _, moved = step(model, pixels(4, 8), "head")
    assert moved >= {"neck_branch_1_dense_1", "neck_branch_1_dense_2", "neck_branch_2_dense_1", "logits"}
    assert not any(name.startswith("conv") for name in moved)
    maps = model.backbone(model.preprocess(pixels(4, 8)))
    first, second = (output_of(model.neck, f"neck_branch_{i}_activation_{j}") for i, j in ((1, 2), (2, 1)))
    one, two = keras.Model(model.neck.inputs, [first, second])(maps)
    expected = np.concatenate([one, two], 1) if join == "concat" else (np.array(one) + np.array(two)) / 2
    np.testing.assert_allclose(model.neck(maps), expected, atol=1e-6)


def test_branches_of_different_width_cannot_be_averaged():
    with pytest.raises(UserError, match="equally wide"):
        NeckConfig(branches=[{"units": [4]}, {"units": [5]}], join="average")
    with pytest.raises(UserError, match="units"):
        AdapterConfig(units=())


def test_branches_stand_before_any_head():
    neck = NeckConfig(branches=[{"units": [4]}], bottleneck=3)
    model = built((10,), neck=neck, head=HeadConfig(name="mlp", units=(2,)))
    assert model.neck.output_shape == (None, 3) and model(VECTORS).shape == (6, 3)

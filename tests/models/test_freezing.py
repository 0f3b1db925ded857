"""What `select` opens moves, and nothing else."""

import numpy as np
import pytest
from frozen_networks import moved, network

from tlkeras.config import ModelConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.models import build_model


def statistics(paths):
    return {path for path in paths if "moving_" in path}


@pytest.mark.parametrize("bn", ["frozen", "inference", "train"])
def test_with_train_head_only_neck_and_head_move(bn, pixels, settle):
    model = network(neck=NeckConfig(bottleneck=4))
    settle(model)
    model.select("head", bn)
    paths = moved(model, pixels(6, 16))
    assert {path.split("/")[0] for path in paths} == {
        "neck_bottleneck",
        "neck_bottleneck_bn",
        "logits",
    }


@pytest.mark.parametrize(
    ("bn", "expected"),
    [
        ("frozen", {"conv_3/kernel"}),
        ("inference", {"conv_3/kernel", "conv_3_bn/gamma", "conv_3_bn/beta"}),
        (
            "train",
            {"conv_3/kernel"}
            | {f"conv_3_bn/{x}" for x in ("gamma", "beta", "moving_mean", "moving_variance")},
        ),
    ],
)
def test_policies_of_batch_normalization(bn, expected, pixels, settle):
    model = network()
    settle(model)
    model.select("last:1", bn)
    assert moved(model, pixels(6, 16)) == expected | {"logits/kernel", "logits/bias"}


@pytest.mark.parametrize("train", ["last:1", "all"])
def test_opening_again_after_a_fit_moves_what_is_open(train, pixels, settle):
    model = network()
    settle(model)
    model.select("head")
    moved(model, pixels(6, 16))
    selection = model.select(train, "train")
    paths = moved(model, pixels(6, 16))
    assert {p.split("/")[0].removesuffix("_bn") for p in paths} == {*selection.blocks, "logits"}
    assert len(statistics(paths)) == 2 * len(selection.blocks)


def test_a_frozen_trunk_neither_drops_units_nor_blocks(pixels):
    model = network(options={"dropout": 0.5})
    x = pixels(4, 16)
    model.select("head", "train")
    first = np.asarray(model(x, training=True))
    np.testing.assert_array_equal(first, model(x, training=True))
    np.testing.assert_array_equal(first, model(x, training=False))
    model.select("last:1", "frozen")
    assert np.abs(first - np.asarray(model(x, training=True))).max() > 0
    model.select("last:1", "inference")
    np.testing.assert_array_equal(first, model(x, training=True))


def test_the_functional_model_cannot_override_a_frozen_trunk(pixels, settle):
    # Keras up to 3.15 lets fit's training=True through `base(x, training=False)` of functional models.
    model = network()
    settle(model)
    model.select("all", "inference")
    assert not statistics(moved(model, pixels(6, 16)))


def test_depths_count_blocks_from_the_top():
    model = network()
    depths = model.select("all").depths
    assert depths["logits/kernel"] == 0
    assert depths["conv_3/kernel"] == depths["conv_3_bn/gamma"] == 1
    assert depths["conv_1/kernel"] == 3
    assert set(depths) == {v.path for v in model.variables}


@pytest.mark.parametrize(
    ("train", "blocks", "cut"),
    [
        ("head", (), "conv_3_relu"),
        ("last:2", ("conv_2", "conv_3"), "conv_1_pool"),
        ("from:conv_3", ("conv_3",), "conv_2_pool"),
        ("all", ("conv_1", "conv_2", "conv_3"), None),
        ("regex:conv_2_bn", ("conv_2",), "conv_1_pool"),
        ("regex:conv_[13]$", ("conv_1", "conv_3"), None),
    ],
)
def test_selections(train, blocks, cut):
    selection = network().select(train, "train")
    assert selection.blocks == blocks
    assert selection.cut == cut


def test_a_pattern_opens_only_what_matches(pixels, settle):
    model = network()
    settle(model)
    model.select("regex:conv_2_bn", "train")
    paths = moved(model, pixels(6, 16))
    assert {p.split("/")[0] for p in paths} == {"conv_2_bn", "logits"}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("last:4", r"small_cnn has 3 blocks.*Received: train='last:4'"),
        ("from:conv3", r"no block 'conv3'. Did you mean 'conv_3'"),
        ("regex:^dense", r"No layer with weights of small_cnn matches"),
        ("regex:(", r"not a regular expression"),
        ("tail", r"train must be 'head'"),
    ],
)
def test_mistakes_in_train(train, message):
    with pytest.raises(UserError, match=message):
        network().select(train)


def test_the_backbone_without_layers_has_no_blocks():
    config = ModelConfig(backbone="none", weights=None)
    model = build_model(config, input_shape=(6,), num_outputs=3)
    assert model.select("all").blocks == ()
    with pytest.raises(UserError, match="none has no blocks"):
        model.select("last:1")

import keras
import numpy as np
import pytest
from variants import all_but

from tlkeras.models import BACKBONES
from tlkeras.models.backbones.construct import construct
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.backbones.registry import Family
from tlkeras.models.cuts.cut_points import find_blocks, find_cut_points, split
from tlkeras.models.naming import reproducible

MEMBERS = [
    "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_lite0", "efficientnet_v2_b0",
    "inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3_small",
    "nasnet_mobile", "resnet50", "resnet50_v2", "vgg16", "xception",
]  # fmt: skip
# slow to build, and made like densenet121, inception_v3 or another of their own names
LARGE = ["convnext_tiny", "efficientnet_v2_b0", "inception_resnet_v2", "resnet50_v2"]


@pytest.mark.parametrize("name", all_but([name for name in MEMBERS if name not in LARGE], MEMBERS))
def test_blocks_and_tail_of_trunk_of_a_family(name, pixels, randomise_statistics, relative_difference):
    row = BACKBONES.get(name)
    side = max(row.family.min_size, 32)
    with reproducible(0, "backbone"):
        backbone = construct(row, (side, side, 3), {})
    x = build_preprocessing(row.family.preprocessing, (side, side, 3))(pixels(4, side))
    randomise_statistics(backbone, x)
    expected = backbone(x)
    blocks = find_blocks(backbone, row.family)
    assert tuple(block.name for block in blocks) == row.block_names
    assert backbone.count_params() == row.parameters
    assert len(backbone.get_layer(row.grad_cam).output.shape) == 4
    for i in (0, len(blocks) // 2, len(blocks) - 2):
        trunk, tail = split(backbone, blocks[i].cut)
        assert relative_difference(expected, tail(trunk(x))) < 1e-5
        assert {id(v) for v in trunk.variables + tail.variables} == {id(v) for v in backbone.variables}
        assert not {id(v) for v in trunk.variables} & {id(v) for v in tail.variables}
        # Where two tensors cross, they pass as one.
        sizes = [int(np.prod(t.shape[1:])) for t in blocks[i].cut.tensors]
        assert len(sizes) == 1 or trunk.output_shape == (None, sum(sizes))
        assert (len(sizes) == 2) == (name == "nasnet_mobile")


def toy():
    x = inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="a_1")(x)
    y = keras.layers.Dense(4, name="a_2")(x)
    x = keras.layers.Add(name="a_add")([x, y])
    x = keras.layers.Activation("relu", name="relu")(x)
    x = keras.layers.Dense(4, name="c")(x)
    return keras.Model(inputs, x)


def test_a_layer_beside_a_shortcut_is_no_cut_point():
    names = [cut.name for cut, _ in find_cut_points(toy())]
    assert names[1:] == ["a_1", "a_add", "relu", "c"]
    assert "a_2" not in names


def test_layers_without_a_name_of_their_own_end_the_block_before():
    blocks = find_blocks(toy(), Family("identity", ((r"^([ac])(_|$)", r"block_\1"),)))
    assert [(b.name, b.cut.name) for b in blocks] == [("block_a", "relu"), ("block_c", "c")]
    assert [layer.name for layer in blocks[0].layers][1:] == ["a_1", "a_2", "a_add", "relu"]

"""The frozen part of real backbones stays; apart from test_freezing.py, which takes seconds."""

import pytest
from frozen_networks import moved, network
from variants import further


@pytest.mark.parametrize(
    ("backbone", "side"), [("mobilenet_v2", 32), ("vgg16", 32), further("efficientnet_b0", 32)]
)
def test_frozen_parts_of_real_backbones_stay(backbone, side, pixels, settle):
    model = network(backbone, side)
    settle(model)
    selection = model.select("last:1", "train")
    paths = moved(model, pixels(3, side))
    frozen = {v.path for block in model.blocks[:-1] for x in block.layers for v in x.variables}
    assert selection.blocks == (model.blocks[-1].name,)
    assert not paths & frozen
    assert any(path in paths for path in (v.path for v in model.blocks[-1].layers[0].variables))

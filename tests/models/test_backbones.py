import inspect
import json
import subprocess
import sys

import keras
import pytest
from multiply_adds import multiply_adds

from tlkeras.errors import UserError
from tlkeras.models import BACKBONES, Family, summary_rows
from tlkeras.models.backbones.construct import construct
from tlkeras.models.cuts.cut_points import find_blocks
from tlkeras.models.naming import reproducible

# test_cut_points.py looks at one of each family, benchmarks/all_backbones.py at all rows.
MEMBERS = ["efficientnet_lite1", "mobilenet_v3_large", "vgg19", "small_cnn", "dann_digits", "none",
           "convnextv2_atto", "convnextv2_tiny", "mobilenetv4_conv_small",
           "mobilenetv4_conv_medium", "mobilenetv4_conv_large", "swin_tiny", "swinv2_tiny"]  # fmt: skip


def build(name, **options):
    row = BACKBONES.get(name)
    side = row.size if name.startswith("swin") else max(row.family.min_size, 32)
    with reproducible(0, "backbone"):
        return row, construct(row, (side, side, 3), options)


def test_every_application_has_a_row():
    functions = {n for n, f in vars(keras.applications).items() if inspect.isfunction(f)}
    built = {row.builder.split(":")[1] for _, row in BACKBONES.items() if row.is_application}
    assert len(functions) == 40
    assert built == functions


@pytest.mark.parametrize("name", MEMBERS)
def test_the_facts_of_a_row_hold(name):
    row, model = build(name)
    assert model.count_params() == row.parameters
    assert tuple(block.name for block in find_blocks(model, row.family)) == row.block_names
    if row.grad_cam:
        assert len(model.get_layer(row.grad_cam).output.shape) == 4


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet50_v2", "densenet121"])
def test_blocks_hold_every_layer_once_and_all_have_weights(name):
    row, model = build(name)
    blocks = find_blocks(model, row.family)
    names = [layer.name for block in blocks for layer in block.layers]
    assert sorted(names) == sorted(layer.name for layer in model.layers)
    assert all(any(layer.weights for layer in block.layers) for block in blocks)


def test_blocks_of_a_new_backbone_are_found_by_the_numbers_in_its_layers_names():
    x = inputs = keras.Input((8,))
    for name in ("stem_dense", "stage_1_block_1_a", "stage_1_block_2_a", "block_3", "mlp10_out", "norm"):
        x = keras.layers.Dense(8, name=name)(x)
    blocks = find_blocks(keras.Model(inputs, x), Family("identity"))
    names = [block.name for block in blocks]
    assert names == ["stem", "stage_1_block_1", "stage_1_block_2", "block_3", "mlp10"]
    assert [layer.name for layer in blocks[-1].layers] == ["mlp10_out", "norm"]


def test_a_smooth_network_has_no_relu_and_no_maximum():
    _, model = build("small_cnn", activation="gelu", pool="avg", filters=(4, 5))
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds.count("AveragePooling2D") == 1 and "MaxPooling2D" not in kinds
    activations = [x.activation for x in model.layers if isinstance(x, keras.layers.Activation)]
    assert activations == [keras.activations.gelu] * 2
    with pytest.raises(UserError, match=r"small_cnn: pool must be 'max' or 'avg'. Received: pool='median'"):
        build("small_cnn", pool="median")


def test_names_of_layers_do_not_depend_on_earlier_models():
    first = [v.path for v in build("inception_v3")[1].variables]
    keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
    build("small_cnn")
    assert [v.path for v in build("inception_v3")[1].variables] == first


def test_building_leaves_the_names_of_others_alone():
    keras.layers.Dense(1)
    before = keras.layers.Dense(1).name
    build("inception_v3")
    number = int(before.rpartition("_")[2])
    assert keras.layers.Dense(1).name == f"dense_{number + 1}"


def test_listing_needs_neither_keras_nor_tensorflow():
    code = (
        "import json, sys; from tlkeras.models import summary_rows; rows = summary_rows('mobilenet*');"
        "print(json.dumps([rows, [m for m in ('keras', 'tensorflow') if m in sys.modules]]))"
    )
    rows, imported = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert imported == []
    assert [row["name"] for row in rows][:2] == ["mobilenet", "mobilenet_v2"]
    assert rows[1]["size"] == 224 and rows[1]["depth"] == 19 and rows[1]["parameters"] == 2_257_984


@pytest.mark.parametrize(
    ("name", "gigas"),
    [
        ("resnet50", 3.8),  # of the papers and timm's tables, which also count a classifier
        ("efficientnet_b0", 0.39),
        ("xception", 8.4),
        ("mobilenetv4_conv_medium", 1.09),
        ("convnextv2_tiny", 4.47),
        ("vit_tiny", 1.26),
        ("swin_tiny", 4.5),
        ("swinv2_tiny", 5.95),
    ],
)
def test_multiply_adds_of_a_row_are_those_of_its_layers(name, gigas):
    row = BACKBONES.get(name)
    with keras.StatelessScope():  # no weights are made
        model = construct(row, (row.size, row.size, 3), {})
    assert row.million_macs == round(multiply_adds(model) / 1e6)
    assert abs(row.million_macs / 1e3 / gigas - 1) < 0.03


def test_the_list_names_size_cost_accuracy_licence_and_place_of_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    rows = {row["name"]: row for row in summary_rows()}
    assert rows["swin_tiny"] == {
        "name": "swin_tiny", "size": 224, "parameters": 27_519_354, "million MACs": 4_490, "top-1": 81.4,
        "licence": "MIT", "weights": "path needed", "depth": 16,
        "blocks": "stem stage_0_block_0..1 stage_1_downsample stage_1_block_0..1 stage_2_downsample "
                  "stage_2_block_0..5 stage_3_downsample stage_3_block_0..1",
    }  # fmt: skip
    assert rows["resnet50"]["weights"] == "Keras downloads" and rows["resnet50"]["top-1"] == 74.9
    assert rows["small_cnn"]["weights"] is None and rows["clip_base_16"]["top-1"] is None
    pictures = [row for _, row in BACKBONES.items() if row.input == "image" and row.size]
    assert [row.name for row in pictures if row.million_macs is None] == []


def test_summary_rows_shorten_runs_of_blocks():
    (row,) = summary_rows("resnet50")
    assert row["blocks"].startswith("conv1 conv2_block1..3")
    assert row["depth"] == 17


def test_options_reach_the_builder_and_unknown_ones_are_refused():
    assert build("mobilenet_v2", alpha=0.5)[1].count_params() < 1_000_000
    with pytest.raises(UserError, match=r"no option 'alpa'.*Did you mean 'alpha'"):
        build("mobilenet_v2", alpa=0.5)
    with pytest.raises(UserError, match="no option 'filters'"):
        build("efficientnet_lite0", filters=2)
    assert build("efficientnet_lite0", width=0.5)[1].count_params() < 2_000_000


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("inception_v3", (64, 64, 3), "at least 75 pixels"),
        (
            "swin_tiny",
            (256, 256, 3),
            r"windows of 7 x 7 positions do not fill .* multiples of 224 pixels.*\[256, 256",
        ),
        ("swinv2_tiny", (256, 200, 3), r"windows of 8 x 8 positions do not fill .* multiples of 256 pixels"),
        ("mlp", (32, 32, 3), "takes vectors. Received"),
        ("resnet50", (10,), "takes images. Received"),
    ],
)
def test_inputs_that_do_not_suit_are_refused(name, shape, message):
    with pytest.raises(UserError, match=message):
        construct(BACKBONES.get(name), shape, {})

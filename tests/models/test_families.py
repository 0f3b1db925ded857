"""Each family of backbones that is built here: its blocks, its cuts, its weights in other libraries."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ends_at_once import AT_ONCE
from random_tensors import random_pictures, random_tensor
from tiny_families import SIZE, TINY, of_the_last_two, trained
from variants import further

from tlkeras.config import ModelConfig, NeckConfig
from tlkeras.errors import UserError
from tlkeras.models import BACKBONES, build_model
from tlkeras.models.backbones.rotary import Rotation
from tlkeras.models.cuts.cut_points import find_blocks, split
from tlkeras.models.naming import reproducible
from tlkeras.models.weights.load import load_backbone

ORIGINALS = json.loads((Path(__file__).parent / "tiny_originals.json").read_text("utf-8"))


def build(name, weights=None, side=32, **changes):
    options = {**TINY[name][0], **changes}
    with reproducible(0, "backbone"):
        return load_backbone(BACKBONES.get(name), weights, (side, side, 3), options)[0]


def checkpoint(original, path, **changes):
    """Writes the tensors of a tiny original, of other shapes where `changes` says so; None leaves one out."""
    from safetensors.numpy import save_file

    shapes = {**original["shapes"], **changes}
    save_file({k: random_tensor(k, tuple(v)) for k, v in shapes.items() if v is not None}, path)
    return str(path)


def original_of(library, backbone="vit_tiny"):
    return next(x for x in ORIGINALS if (x["library"], x["backbone"]) == (library, backbone))


@pytest.mark.parametrize("name", TINY)
def test_blocks_are_those_of_the_paper_and_hold_every_layer_once(name):
    model = build(name)
    blocks = find_blocks(model, BACKBONES.get(name).family)
    assert [block.name for block in blocks] == TINY[name][1].split()
    names = [layer.name for block in blocks for layer in block.layers]
    assert sorted(names) == sorted(layer.name for layer in model.layers)


@pytest.mark.parametrize("name", TINY)
def test_the_tail_of_the_trunk_is_the_whole(name, relative_difference):
    model, x = build(name), random_pictures(4, 32)
    for block in find_blocks(model, BACKBONES.get(name).family)[:-1]:
        trunk, tail = split(model, block.cut)
        assert relative_difference(model(x), tail(trunk(x))) < 1e-5
        assert not {id(v) for v in trunk.variables} & {id(v) for v in tail.variables}


@pytest.mark.parametrize("name", TINY)
def test_the_last_two_blocks_train_and_frozen_features_serve_them(name, relative_difference):
    options, names = TINY[name]
    config = ModelConfig(backbone=name, weights=None, backbone_options=options)
    model = build_model(config, input_shape=(32, 32, 3), num_outputs=3)
    assert model.select("last:2", bn="train").blocks == tuple(names.split()[-2:])
    blocks = find_blocks(model.backbone, BACKBONES.get(name).family)
    opened = {v.path for block in blocks[-2:] for x in block.layers for v in x.trainable_variables}
    assert {v.path for x in model.backbone.layers for v in x.trainable_variables} == opened
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")
    assert relative_difference(model(x), model.on_features()(model.trunk()(x))) < 1e-5
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x, training=True) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)


@pytest.mark.parametrize(
    "name", ["vit_tiny", "mobilenetv4_conv_small", further("convnextv2_atto"), further("swinv2_tiny")]
)
def test_a_run_moves_the_last_two_blocks_and_with_cached_features_to_the_same_weights(name, tmp_path):
    before, cached = trained(name, tmp_path / "a", True)
    moved = {n for n in cached if any(map(np.any, map(np.subtract, before[n], cached[n])))}
    assert moved == of_the_last_two(name, cached)
    _, uncached = trained(name, tmp_path / "b", False)
    atol = 1e-5 if name == "swinv2_tiny" else 0  # docs/backbones.md
    for name, values in cached.items():
        for a, b in zip(values, uncached[name], strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=atol)


def test_best_keras_opens_in_a_process_without_tlkeras_and_safetensors(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    for name, (options, _) in TINY.items():
        config = ModelConfig(backbone=name, weights=None, backbone_options=options)
        model = build_model(config, input_shape=(32, 32, 3), num_outputs=3)
        model.to_functional().save(tmp_path / f"{name}.keras")
        np.save(tmp_path / f"{name}.npy", model(x))
    np.save(tmp_path / "x.npy", x)
    program = AT_ONCE + (
        "import pathlib, sys; sys.modules.update(tlkeras=None, safetensors=None); import keras, numpy as np\n"
        "folder = pathlib.Path(sys.argv[1]); x = np.load(folder / 'x.npy')\n"
        "for file in sorted(folder.glob('*.keras')):\n"
        "    found = np.asarray(keras.models.load_model(file)(x))\n"
        "    np.testing.assert_allclose(found, np.load(file.with_suffix('.npy')), atol=1e-5)\n"
        "    print(file.stem)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
    assert done.stdout.split() == sorted(TINY), done.stderr[-2000:]


def dtypes_of_operations(model):
    """Returns the dtypes with which each kind of operation computes in a training step of a network."""

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(model(x, training=True), "float32") ** 2)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    graph = step.get_concrete_function(tf.TensorSpec((4, 32, 32, 3))).graph.as_graph_def()
    found = {}
    for node in [*graph.node, *(node for function in graph.library.function for node in function.node_def)]:
        for attribute in ("T", "U"):  # U is that of a batch normalisation's statistics
            if attribute in node.attr:
                dtype = tf.as_dtype(node.attr[attribute].type).name
                found.setdefault(f"{node.op}.{attribute}", set()).add(dtype)
    return found


@pytest.mark.parametrize("name", TINY)
def test_softmax_and_normalisations_stay_in_float32_under_mixed_precision(name, half_precision):
    found = dtypes_of_operations(build(name))
    assert "bfloat16" in found.get("Einsum.T", set()) | found.get("Conv2D.T", set())
    exact = {"Softmax.T", "Rsqrt.T", "RsqrtGrad.T", "Sqrt.T", "FusedBatchNormV3.U"} & set(found)
    attends = "conv" not in name
    assert ("Softmax.T" in exact) == attends and {"Rsqrt.T", "FusedBatchNormV3.U"} & exact
    assert {dtype for kind in exact for dtype in found[kind]} == {"float32"}


@pytest.mark.parametrize("original", ORIGINALS, ids=lambda x: f"{x['backbone']}-{x['library']}")
def test_outputs_are_those_of_the_original(original, tmp_path):
    pytest.importorskip("safetensors")
    row, path = BACKBONES.get(original["backbone"]), checkpoint(original, tmp_path / "a.safetensors")
    for place, (spread, *expected) in original["outputs"].items():
        key, side = place.split("/")
        takes = inspect.signature(row.function).parameters
        unpooled = {x: False for x in ("attention_pool", "pooled") if key == "features" and x in takes}
        options = original["options"] | unpooled
        model, report = load_backbone(row, path, (int(side), int(side), 3), options)
        assert set(report.matched) == {x.name for x in model.layers if x.weights} and not report.unmatched
        found = np.asarray(model(random_pictures(2, int(side)))).ravel()
        found = found[:: max(found.size // 16, 1)][:16]
        assert np.abs(found - expected).max() < 3e-5 * spread


OF_META = {  # timm's name: Meta's
    "dinov3_small": [("reg_token", "storage_tokens"), (r"gamma_([12])$", r"ls\1.gamma")],
    "dinov3_convnext_tiny": [
        (r"^stem\.", "downsample_layers.0."),
        (r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"\.blocks\.", "."),
        ("conv_dw", "dwconv"),
        (r"mlp\.fc", "pwconv"),
        (r"mlp\.grn\.weight", "grn.gamma"),
        (r"mlp\.grn\.bias", "grn.beta"),
        (r"head\.norm", "norm"),
    ],
}
OF_META["convnextv2_atto"] = OF_META["dinov3_convnext_tiny"]


@pytest.mark.parametrize("name", OF_META)
def test_checkpoints_of_meta_have_names_of_their_own(name, tmp_path):
    original = original_of("timm", name)
    arrays = {k: random_tensor(k, tuple(v)) for k, v in original["shapes"].items()}
    if name == "dinov3_small":  # with the biases that timm has as an option
        more = {f"blocks.{i}.attn.{x}_bias": (12,) for i in range(2) for x in "qv"}
        arrays |= {k: random_tensor(k, v) for k, v in more.items()}
    np.savez(tmp_path / "timm.npz", **arrays)
    for pattern, theirs in OF_META[name]:
        arrays = {re.sub(pattern, theirs, k): v for k, v in arrays.items()}
    unused = set()
    if name == "dinov3_small":
        for i in range(2):
            start, keys = f"blocks.{i}.attn.", np.full(12, 9, "float32")
            biases = [arrays.pop(f"{start}q_bias"), keys, arrays.pop(f"{start}v_bias")]
            arrays[f"{start}qkv.bias"] = np.concatenate(biases)
            arrays[f"{start}qkv.bias_mask"] = np.repeat(np.float32([1, 0, 1]), 12)
            unused.add(f"{start}qkv.bias_mask")
        arrays |= {"rope_embed.periods": np.ones(1, "float32"), "mask_token": np.zeros((1, 12), "float32")}
        unused.add("rope_embed.periods")
    elif name == "dinov3_convnext_tiny":
        arrays |= {f"norms.3.{x}": arrays[f"norm.{x}"] for x in ("weight", "bias")}
        unused |= {"norms.3.weight", "norms.3.bias"}
    elif name == "convnextv2_atto":
        arrays = {k: v.reshape(1, 1, 1, -1) if ".grn." in k else v for k, v in arrays.items()}
    np.savez(tmp_path / "meta.npz", **arrays)
    row, shape = BACKBONES.get(name), (32, 32, 3)
    of_timm, _ = load_backbone(row, str(tmp_path / "timm.npz"), shape, original["options"])
    of_meta, report = load_backbone(row, str(tmp_path / "meta.npz"), shape, original["options"])
    assert set(report.unused) == unused and not report.unmatched
    for one, other in zip(of_timm.weights, of_meta.weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_folder_of_transformers_may_have_its_tensors_in_several_files(tmp_path):
    numpy = pytest.importorskip("safetensors.numpy")
    original = original_of("transformers")
    whole = build("vit_tiny", checkpoint(original, tmp_path / "a.safetensors"), depth=2)
    arrays = {k: random_tensor(k, tuple(v)) for k, v in original["shapes"].items()}
    folder = tmp_path / "folder"
    folder.mkdir()
    for i in range(2):
        numpy.save_file({k: arrays[k] for k in list(arrays)[i::2]}, folder / f"part{i}.safetensors")
    places = {k: f"part{i % 2}.safetensors" for i, k in enumerate(arrays)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"layer_norm_eps": 1e-3}))
    parts = build("vit_tiny", str(folder), depth=2)
    for a, b in zip(whole.variables, parts.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert whole.get_layer("norm").epsilon == 1e-6 and parts.get_layer("norm").epsilon == 1e-3


def test_a_network_of_timm_may_be_saved_by_transformers(tmp_path):
    original = original_of("timm", "mobilenetv4_conv_small")
    shapes = {f"timm_model.{k}": v for k, v in original["shapes"].items()}
    path = checkpoint({"shapes": shapes}, tmp_path / "model.safetensors")
    model, report = load_backbone(
        BACKBONES.get("mobilenetv4_conv_small"), path, (32, 32, 3), original["options"]
    )
    assert not report.unmatched and not report.unused
    kernel = random_tensor("timm_model.conv_stem.weight", (8, 3, 3, 3))
    np.testing.assert_array_equal(model.get_layer("stem_conv").kernel, kernel.transpose(2, 3, 1, 0))


def test_mobilenet_v4_of_other_widths_has_the_filters_of_timm():
    names = ("stem_conv", "stage_1_block_1_conv", "stage_3_block_0_expand_conv", "top_conv", "head_conv")
    row = BACKBONES.get("mobilenetv4_conv_small")
    for width, expected in ((0.35, [32, 24, 192, 336, 1280]), (0.5, [32, 32, 288, 480, 1280])):
        model = load_backbone(row, None, (32, 32, 3), {"width": width})[0]
        assert [model.get_layer(x).filters for x in names] == expected


def test_the_text_tower_of_a_pair_is_reported_and_no_part_of_the_image_tower(tmp_path):
    pytest.importorskip("safetensors")
    original = original_of("transformers", "siglip_base")
    path, row = checkpoint(original, tmp_path / "a.safetensors"), BACKBONES.get("siglip_base")
    for pooled in (True, False):
        options = original["options"] | {"attention_pool": pooled}
        model, report = load_backbone(row, path, (32, 32, 3), options)
        assert {n.partition(".")[0] for n in report.unused} == {"text_model", "logit_scale", "logit_bias"}
        assert model.output_shape == ((None, 12) if pooled else (None, 16, 12))


def test_an_image_tower_may_be_saved_without_its_pair(tmp_path):
    pytest.importorskip("safetensors")
    original, row = original_of("transformers", "siglip_base"), BACKBONES.get("siglip_base")
    image = {k: v for k, v in original["shapes"].items() if k.startswith("vision_model.")}
    alone = {"shapes": {k.removeprefix("vision_model."): v for k, v in image.items()}}
    path = checkpoint(alone, tmp_path / "a.safetensors")
    model, report = load_backbone(row, path, (32, 32, 3), original["options"])
    assert not report.unmatched and not report.unused
    for layer, name in (("norm", "post_layernorm"), ("pool_norm", "head.layernorm")):
        gamma = random_tensor(f"{name}.weight", (12,))
        np.testing.assert_array_equal(model.get_layer(layer).gamma, gamma)


def test_a_checkpoint_may_be_npz_and_names_of_its_head_are_reported(tmp_path):
    arrays = {k: random_tensor(k, tuple(v)) for k, v in original_of("timm")["shapes"].items()}
    np.savez(tmp_path / "a.npz", **arrays, **{"head.weight": np.zeros((5, 12), "float32")})
    config = ModelConfig(
        backbone="vit_tiny", weights=str(tmp_path / "a.npz"), backbone_options=SIZE | {"depth": 2}
    )
    report = build_model(config, input_shape=(32, 32, 3), num_outputs=3).weights_report
    assert report.unused == ("head.weight",) and len(report.matched) == 2 + 8 * 2 and not report.unmatched


@pytest.mark.parametrize(
    ("library", "changes", "options", "message"),
    [
        ("timm", {}, {"width": 24}, r"patch_embed.proj.weight has the shape \(12, 3, 8, 8\), but the layer"),
        ("timm", {"blocks.1.norm2.weight": [9]}, {}, r"blocks.1.norm2.weight has .* \(9,\).* has \(12,\)"),
        ("timm", {"blocks.2.norm1.weight": [12]}, {}, r"no layer for blocks.2.norm1.weight, \(12,\)"),
        ("transformers", {}, {"depth": 3}, r"no weight for the layer block_2_norm_1, \(12,\); it has e.g. "),
        ("transformers", {"embeddings.cls_token": None}, {}, "has 0 tokens before .*, but vit_tiny has 1"),
        ("transformers", {"embeddings.position_embeddings": [1, 13, 12]}, {}, "not belong to a square grid"),
    ],
)  # fmt: skip
def test_checkpoints_of_other_architectures_are_refused(library, changes, options, message, tmp_path):
    pytest.importorskip("safetensors")
    path = checkpoint(original_of(library), tmp_path / "a.safetensors", **changes)
    with pytest.raises(UserError, match=f"a.safetensors is not a checkpoint of vit_tiny: .*{message}"):
        build("vit_tiny", path, **{"depth": 2, **options})


def test_a_damaged_file_and_a_backbone_without_names_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a.safetensors cannot be read"):
        build("vit_tiny", str(tmp_path / "a.safetensors"))
    with pytest.raises(UserError, match="small_cnn cannot load checkpoints of other libraries"):
        load_backbone(BACKBONES.get("small_cnn"), str(tmp_path / "a.safetensors"), (32, 32, 3), {})


def test_a_patch_that_does_not_fill_the_image_is_refused():
    with pytest.raises(UserError, match=r"vit_tiny: both sides .* multiples of the patch, 8 pixels\. .*36"):
        build("vit_tiny", side=36)


def test_rotary_positions_turn_pairs_by_the_places_of_their_patches():
    """DINOv3 with two frequencies and two rows of three patches, against complex numbers."""
    rows, columns, prefix, size, base = 2, 3, 2, 8, 100.0
    x = np.random.default_rng(0).normal(size=(2, prefix + rows * columns, 3, size)).astype("float32")
    tokens = keras.Input(x.shape[1:])
    found, twice = keras.Model(tokens, Rotation(rows, columns, prefix, base)(tokens, 2 * tokens))(x)
    expected = x.copy()
    for i, j in np.ndindex(rows, columns):
        for k in range(
            size // 2
        ):  # the first half of the pairs belongs to the rows, the second to the columns
            place = (2 * i + 1) / rows - 1 if k < 2 else (2 * j + 1) / columns - 1
            period = base ** (2 * (k % 2) / (size / 2))
            token = prefix + i * columns + j
            pair = x[:, token, :, k] + 1j * x[:, token, :, k + size // 2]
            pair = pair * np.exp(2j * np.pi * place / period)
            expected[:, token, :, k], expected[:, token, :, k + size // 2] = pair.real, pair.imag
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(twice, 2 * expected, atol=1e-5)


def test_rotary_positions_need_pairs_of_pairs():
    with pytest.raises(UserError, match=r"dinov3_small: rotary positions need .* width=12, heads=2"):
        build("dinov3_small", heads=2)


@pytest.mark.parametrize("name", ["vit_tiny", "dinov2_small_registers", "dinov3_small"])
def test_weights_of_a_network_for_another_size_keep_their_places(name, tmp_path):
    small = build(name)
    kernel, table = small.get_layer("stem").get_weights()
    tokens = len(table) - 16  # before those of 4 x 4 patches
    table[tokens:] = np.tile(np.arange(4.0), 4)[:, None]  # the number of the column
    small.get_layer("stem").set_weights([kernel, table])
    small.save(tmp_path / "small.keras")
    large, report = load_backbone(
        BACKBONES.get(name), str(tmp_path / "small.keras"), (48, 64, 3), TINY[name][0]
    )
    assert not report.unmatched
    new = large.get_layer("stem").get_weights()[1]
    np.testing.assert_array_equal(new[:tokens], table[:tokens])
    rows = new[tokens:, 0].reshape(6, 8)
    np.testing.assert_allclose(rows, np.tile(rows[0], (6, 1)), atol=1e-5)
    np.testing.assert_allclose(rows[0, 2:6], np.arange(2.5, 6.5) / 2 - 0.5, atol=0.1)
    for layer in small.layers:
        if layer.name != "stem":
            for one, other in zip(layer.weights, large.get_layer(layer.name).weights, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        (None, lambda x: x[:, 0]),
        ("class", lambda x: x[:, 0]),
        ("avg", lambda x: x[:, 2:].mean(1)),
        ("max", lambda x: x[:, 2:].max(1)),
        ("class_and_avg", lambda x: np.concatenate([x[:, 0], x[:, 2:].mean(1)], -1)),
        ("gem", lambda x: (np.maximum(x[:, 2:], 0) ** 3).mean(1) ** (1 / 3)),
        ("flatten", lambda x: x.reshape(len(x), -1)),
    ],
)
def test_tokens_are_pooled(pooling, expected):
    name, x = "deit_tiny_distilled", random_pictures(2, 32)
    config = ModelConfig(
        backbone=name, weights=None, backbone_options=TINY[name][0], neck=NeckConfig(pooling=pooling)
    )
    model = build_model(config, input_shape=(32, 32, 3), num_outputs=3)
    tokens = np.asarray(model.backbone(x))
    np.testing.assert_allclose(model.neck(tokens), expected(tokens), rtol=1e-4, atol=1e-5)
    model.to_functional()


def test_a_map_has_no_class_token():
    config = ModelConfig(backbone="small_cnn", weights=None, neck=NeckConfig(pooling="class"))
    with pytest.raises(UserError, match=r"no class token\. Received: neck.pooling='class'"):
        build_model(config, input_shape=(32, 32, 3), num_outputs=3)

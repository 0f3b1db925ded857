"""Features of backbones against the libraries that they come from, on random weights that those saved.

In an environment with torch, timm, transformers and safetensors, and no tlkeras:

    python benchmarks/parity.py --originals=DIR

then in one with tlkeras and safetensors:

    python benchmarks/parity.py --compare=DIR

which prints a row for each family, library and image size: the largest difference of all outputs and of the
class token, in units of the outputs' standard deviation over eight random pictures, and beside it that of the
original in float32. What both are compared with is the original in float64. With `--double`, tlkeras computes
in float64, too: what is left then is a difference of the two networks, and no rounding.

The first environment also makes what the tests hold tiny networks against: `--fixtures`.
"""

import argparse
import inspect
import json
import math
import re
import sys
from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parent.parent / "tests" / "models"
sys.path.insert(0, str(FIXTURES))

from random_tensors import random_pictures, random_tensor  # noqa: E402

# fmt: off
# tlkeras' name and options; library, its name and arguments; native and another size
_TINY = {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768}
_SMALL = {"hidden_size": 384, "num_attention_heads": 6, "patch_size": 14, "image_size": 224}
CASES = (
    ("vit_tiny", {}, "timm", "vit_tiny_patch16_224", {}, (224, 160)),
    ("vit_small", {"patch": 14}, "timm", "vit_small_patch16_224", {"patch_size": 14}, (224, 308)),
    ("vit_tiny", {}, "transformers", "ViT", _TINY, (224, 160)),
    ("deit_tiny", {}, "timm", "deit_tiny_patch16_224", {}, (224, 288)),
    ("deit_tiny_distilled", {}, "timm", "deit_tiny_distilled_patch16_224", {}, (224, 160)),
    (
        "deit_tiny_distilled",
        {},
        "transformers",
        "DeiT",
        _TINY,
        (224, 160),
    ),
    ("vit_base", {}, "timm", "vit_base_patch16_224", {}, (224, 160)),
    ("convnextv2_atto", {}, "timm", "convnextv2_atto", {}, (224, 176)),
    ("convnextv2_tiny", {}, "timm", "convnextv2_tiny", {}, (224, 160)),
    ("convnextv2_atto", {}, "transformers", "ConvNextV2",
     {"depths": [2, 2, 6, 2], "hidden_sizes": [40, 80, 160, 320], "layer_norm_eps": 1e-6}, (224, 288)),
    ("dinov3_convnext_tiny", {}, "timm", "convnext_tiny", {}, (224, 160)),
    ("dinov3_convnext_tiny", {}, "transformers", "DINOv3ConvNext", {}, (224, 160)),
    ("mobilenetv4_conv_small", {}, "timm", "mobilenetv4_conv_small", {}, (224, 162)),
    ("mobilenetv4_conv_medium", {}, "timm", "mobilenetv4_conv_medium", {}, (256, 192)),
    ("mobilenetv4_conv_large", {}, "timm", "mobilenetv4_conv_large", {}, (384, 256)),
    ("dinov2_small", {}, "timm", "vit_small_patch14_dinov2", {}, (518, 224)),
    ("dinov2_small", {}, "meta", "vit_small_patch14_dinov2", {"img_size": 224}, (224, 308)),
    ("dinov2_small", {}, "transformers", "Dinov2", _SMALL, (224, 308)),
    ("dinov2_base", {}, "timm", "vit_base_patch14_dinov2", {"img_size": 224}, (224, 154)),
    ("dinov2_small_registers", {}, "timm", "vit_small_patch14_reg4_dinov2", {"img_size": 224}, (224, 154)),
    ("dinov2_small_registers", {}, "transformers", "Dinov2WithRegisters", _SMALL, (224, 154)),
    ("dinov3_small", {}, "timm", "vit_small_patch16_dinov3_qkvb", {"img_size": 224}, (224, 160)),
    ("dinov3_small", {}, "transformers", "DINOv3ViT",
     {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_register_tokens": 4},
     (224, 160)),
    ("clip_base_16", {}, "timm", "vit_base_patch16_clip_quickgelu_224", {}, (224, 160)),
    ("clip_base_32", {}, "transformers", "CLIPVision", {}, (224, 288)),
    ("siglip_base", {"activation": "gelu"}, "timm", "vit_base_patch16_siglip_224", {}, (224, 160)),
    ("siglip_base", {}, "transformers", "SiglipVision", {}, (224, 160)),
    ("swin_tiny", {}, "timm", "swin_tiny_patch4_window7_224", {}, (224, 448)),
    ("swin_tiny", {"window": 8}, "timm", "swin_tiny_patch4_window7_224", {"other_window": 8}, (256,)),
    ("swin_tiny", {}, "transformers", "Swin", {}, (224, 448)),
    ("swin_base", {}, "timm", "swin_base_patch4_window7_224", {}, (224,)),
    ("swinv2_tiny", {}, "timm", "swinv2_tiny_window8_256", {}, (256, 128)),
    ("swinv2_tiny", {}, "transformers", "Swinv2", {"image_size": 256, "window_size": 8}, (256, 512)),
)
# fmt: on
PICTURES = 8

# a short network with each kind of block, in tlkeras' words
MOBILENET_V4 = (
    "conv3/2 8, conv1 8",
    "fused3/2*2 8",
    "uib5|5/2*3 16, uib-|3*2 16, uib3|-*4 16",
    "uib3|-/2*6 16, uib-|-*4 16",
)

SWIN = {"width": 12, "depths": [2, 2], "heads": 1, "window": 4}
SWIN_TIMM = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "img_size": 32}
SWIN_HF = {"embed_dim": 12, "depths": [2, 2], "num_heads": [1, 2], "window_size": 4, "image_size": 32}

# the same of tiny networks, for the tests
_SIZE = {"width": 12, "depth": 2, "heads": 3, "patch": 8}
_OF_TIMM = {"embed_dim": 12, "depth": 2, "num_heads": 3, "patch_size": 8, "img_size": 32}
_OF_HF = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 48,
          "patch_size": 8, "image_size": 32}  # fmt: skip
_OF_TEXT = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8,
            "vocab_size": 4, "max_position_embeddings": 4}  # fmt: skip
_NEXT = {"depths": [1, 1, 2, 1], "width": 4}
_PAIR = {"vision_config": _OF_HF, "text_config": _OF_TEXT}
TINY = (
    ("vit_tiny", _SIZE, "timm", "vit_tiny_patch16_224", _OF_TIMM, (32, 48)),
    ("vit_tiny", _SIZE, "transformers", "ViT", _OF_HF, (32, 16)),
    ("deit_tiny_distilled", _SIZE, "timm", "deit_tiny_distilled_patch16_224", _OF_TIMM, (32, 16)),
    ("deit_tiny_distilled", _SIZE, "transformers", "DeiT", _OF_HF, (32, 48)),
    ("convnextv2_atto", _NEXT, "timm", "convnextv2_atto",
     {"depths": [1, 1, 2, 1], "dims": [4, 8, 16, 32]}, (32, 72)),
    ("convnextv2_atto", _NEXT, "transformers", "ConvNextV2",
     {"depths": [1, 1, 2, 1], "hidden_sizes": [4, 8, 16, 32], "layer_norm_eps": 1e-6}, (32, 48)),
    ("dinov3_convnext_tiny", _NEXT, "timm", "convnext_tiny",
     {"depths": [1, 1, 2, 1], "dims": [4, 8, 16, 32]}, (32, 72)),
    ("dinov3_convnext_tiny", _NEXT, "transformers", "DINOv3ConvNext",
     {"depths": [1, 1, 2, 1], "hidden_sizes": [4, 8, 16, 32]}, (32, 48)),
    ("mobilenetv4_conv_small", {"stem": 8, "stages": MOBILENET_V4}, "timm", "mobilenetv4",
     {"stem_size": 8, "stages": MOBILENET_V4}, (32, 50)),
    ("dinov2_small", _SIZE, "timm", "vit_small_patch14_dinov2", _OF_TIMM, (32, 16)),
    ("dinov2_small", _SIZE, "meta", "vit_small_patch14_dinov2", _OF_TIMM, (32, 16, 48)),
    ("dinov2_small", _SIZE, "transformers", "Dinov2", _OF_HF, (32, 16)),
    ("dinov2_small_registers", _SIZE, "timm", "vit_small_patch14_reg4_dinov2", _OF_TIMM, (32, 16)),
    ("dinov2_small_registers", _SIZE, "transformers", "Dinov2WithRegisters", _OF_HF, (32, 16)),
    ("dinov3_small", _SIZE, "timm", "vit_small_patch16_dinov3", _OF_TIMM, (32, 16)),
    ("dinov3_small", _SIZE, "transformers", "DINOv3ViT", _OF_HF | {"num_register_tokens": 4}, (32, 48)),
    ("clip_base_16", _SIZE, "timm", "vit_base_patch16_clip_quickgelu_224", _OF_TIMM, (32, 16)),
    ("clip_base_16", _SIZE, "transformers", "CLIP", _PAIR, (32, 48)),
    ("siglip_base", _SIZE | {"activation": "gelu"}, "timm", "vit_base_patch16_siglip_224", _OF_TIMM,
     (32, 16)),
    ("siglip_base", _SIZE, "transformers", "Siglip", _PAIR, (32, 48)),
    ("swin_tiny", SWIN, "timm", "swin_tiny_patch4_window7_224", SWIN_TIMM, (32, 64, 16)),
    ("swin_tiny", SWIN | {"window": 8}, "timm", "swin_tiny_patch4_window7_224",
     SWIN_TIMM | {"other_window": 8}, (64,)),
    ("swin_tiny", SWIN, "transformers", "Swin", SWIN_HF, (32, 64)),
    ("swinv2_tiny", SWIN, "timm", "swinv2_tiny_window8_256", SWIN_TIMM, (32, 16)),
    ("swinv2_tiny", SWIN, "transformers", "Swinv2", SWIN_HF, (32, 64)),
)  # fmt: skip


def folder_of(case, root: Path) -> Path:
    return root / "-".join((case[0], *case[2:4]))


def write_originals(root: Path, only: str) -> None:
    """Writes weights, and the outputs in float32 and float64, of each case into a folder of its own."""
    import torch
    from safetensors.numpy import save_file

    torch.set_num_threads(1)
    for case in CASES:
        if only in case[0]:
            folder = folder_of(case, root)
            folder.mkdir(parents=True, exist_ok=True)
            tensors, model, forward = original(case, settle=True)
            save_file(tensors, folder / "model.safetensors")
            if case[2] == "transformers":  # states the epsilon of the norms
                (folder / "config.json").write_text(model.config.to_json_string(), "utf-8")
            with torch.no_grad():
                for side in case[5]:
                    x = torch.from_numpy(random_pictures(PICTURES, side)).permute(0, 3, 1, 2)
                    single, double = forward(model.float(), x), forward(model.double(), x.double())
                    found = {f"{k}/float32": v for k, v in single.items()} | double
                    np.savez(folder / f"{side}.npz", **{k: v.numpy() for k, v in found.items()})
            print(folder.name, flush=True)


def write_fixtures() -> None:
    """Writes names and shapes of tiny networks' weights, and sixteen of their outputs for two pictures."""
    import torch

    found = []
    for case in TINY:
        tensors, model, forward = original(case)
        shapes = {k: v.shape for k, v in tensors.items()}
        found.append({"backbone": case[0], "options": case[1], "library": case[2], "shapes": shapes})
        found[-1]["outputs"] = {}
        with torch.no_grad():
            for side in case[5]:
                x = torch.from_numpy(random_pictures(2, side)).permute(0, 3, 1, 2).double()
                for key, values in forward(model.double(), x).items():
                    some = values.numpy().ravel()[:: max(values.numel() // 16, 1)][:16]
                    numbers = [float(f"{x:.7g}") for x in (values.numpy().std(), *some)]
                    found[-1]["outputs"][f"{key}/{side}"] = numbers
    lines = ",\n".join(json.dumps(x) for x in found)
    (FIXTURES / "tiny_originals.json").write_text(f"[{lines}]\n", "utf-8")


def original(case, settle: bool = False):
    """Returns random tensors by the names under which a library saves them, its network with them, and
    `forward(model, x)`, which returns the outputs by name."""
    of = {"timm": of_timm, "meta": of_meta, "transformers": of_transformers}
    return of[case[2]](*case[3:5], settle)


def of_timm(name: str, arguments, settle: bool):
    import timm
    import torch

    if any(f"patch{side}" in name for side in (14, 16, 32)):
        arguments = {"dynamic_img_size": True, **arguments}
    if name == "mobilenetv4":
        model = tiny_mobilenet_v4(**arguments).eval()
    else:
        native = {k: v for k, v in arguments.items() if k != "other_window"}
        model = timm.create_model(name, num_classes=0, **native).eval()
    tensors = {k: random_tensor(k, tuple(v.shape)) for k, v in _floats(model.state_dict()).items()}
    model.load_state_dict({k: torch.from_numpy(v) for k, v in tensors.items()}, strict=False)
    if settle:
        tensors |= settled_statistics(model)

    def forward(model, x):
        if name.startswith("swin"):
            return {"features": resized_swin(model, name, arguments, x).forward_features(x)}
        features = model.forward_features(x)
        if "attn_pool.latent" in tensors:
            return {"features": features, "pooled": model.forward_head(features, pre_logits=True)}
        if features.ndim == 4:
            pooled = model.forward_head(features, pre_logits=True)
            return {"features": features.permute(0, 2, 3, 1), "pooled": pooled}
        return {"features": features}

    return tensors, model, forward


def resized_swin(model, name: str, arguments, x):
    """Returns timm's network for the size of `x` with the weights of `model`; windows keep their side."""
    import timm
    from timm.models import swin_transformer, swin_transformer_v2

    options = {k: v for k, v in arguments.items() if k != "other_window"} | {"img_size": x.shape[-1]}
    if "other_window" in arguments:
        options["window_size"] = arguments["other_window"]
    other = timm.create_model(name, num_classes=0, **options)
    family = swin_transformer_v2 if "v2" in name else swin_transformer
    other.load_state_dict(family.checkpoint_filter_fn(model.float().state_dict(), other), strict=False)
    return other.to(x.dtype).eval()


def settled_statistics(model) -> dict:
    """Gives batch normalisation the statistics of random pictures, without which a deep random network
    answers the same to all pictures. Returns them by name; without such layers there are none."""
    import torch

    norms = {n: x for n, x in model.named_modules() if isinstance(x, torch.nn.BatchNorm2d)}
    if not norms:
        return {}
    for norm in norms.values():
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(torch.from_numpy(random_pictures(32, 96)).permute(0, 3, 1, 2))
    model.eval()
    kinds = ("running_mean", "running_var")
    return {f"{n}.{kind}": getattr(x, kind).numpy().copy() for n, x in norms.items() for kind in kinds}


def tiny_mobilenet_v4(stages, stem_size: int):
    """Returns timm's network of the blocks in tlkeras' words, such as `uib5|5/2*3 16`."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.mobilenetv3 import MobileNetV3
    from torch import nn

    def in_timm(block: str) -> str:
        word, filters = block.split()
        kind, kernels, stride, expansion = re.fullmatch(r"([a-z]+)([\d|-]+)/?(\d?)\*?(\d?)", word).groups()
        first, _, second = kernels.replace("-", "0").partition("|")
        kernels = f"a{first}_k{second}" if second else f"k{first}"
        kind = {"conv": "cn", "fused": "er", "uib": "uir"}[kind]
        return f"{kind}_r1_{kernels}_s{stride or 1}_e{expansion or 1}_c{filters}"

    words = [[in_timm(block) for block in row.split(", ")] for row in (*stages, "conv1 960")]
    arguments = {"head_bias": False, "head_norm": True, "num_features": 1280, "act_layer": nn.ReLU}
    arguments |= {"round_chs_fn": lambda x, **_: x, "norm_layer": nn.BatchNorm2d, "num_classes": 0}
    return MobileNetV3(decode_arch_def(words), stem_size=stem_size, **arguments)


def of_meta(name: str, arguments, settle: bool):
    """As `of_timm`, with positions resized as in DINOv2's own code, which is not timm's way."""
    import torch

    tensors, model, plain = of_timm(name, arguments, settle)
    tensors["mask_token"] = np.zeros((1, len(tensors["norm.weight"])), "float32")
    table = torch.from_numpy(tensors["pos_embed"])
    grid = model.patch_embed.grid_size[0]

    def forward(model, x):
        new = x.shape[-1] // model.patch_embed.patch_size[0]
        patches = table[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2).to(x.dtype)
        if new != grid:
            scale = {"scale_factor": ((new + 0.1) / grid,) * 2, "mode": "bicubic"}
            patches = torch.nn.functional.interpolate(patches, **scale)
            assert patches.shape[-1] == new
        patches = patches.permute(0, 2, 3, 1).flatten(1, 2)
        model.pos_embed = torch.nn.Parameter(torch.cat([table[:, :1].to(x.dtype), patches], 1))
        model.patch_embed.grid_size = (new, new)
        return plain(model, x)

    return tensors, model, forward


def of_transformers(kind: str, arguments, settle: bool):
    import tempfile

    import transformers
    from safetensors.numpy import load_file, save_file

    config = getattr(transformers, f"{kind}Config")(**arguments)
    make = getattr(transformers, f"{kind}Model")
    with tempfile.TemporaryDirectory() as folder:
        make(config).save_pretrained(folder)  # under other names than the model's own
        file = f"{folder}/model.safetensors"
        tensors = {k: random_tensor(k, v.shape) for k, v in load_file(file).items()}
        save_file(tensors, file, {"format": "pt"})
        model = make.from_pretrained(folder).eval()

    def forward(model, x):
        if kind == "ConvNextV2":
            found = model(x)
            return {"features": found.last_hidden_state.permute(0, 2, 3, 1), "pooled": found.pooler_output}
        if kind.startswith("Swin"):  # a network for this size, with windows of the same side
            other = make(config.__class__(**{**arguments, "image_size": x.shape[-1]})).eval().to(x.dtype)
            other.load_state_dict(model.state_dict())
            found = other(x).last_hidden_state
            side = math.isqrt(found.shape[1])
            return {"features": found.unflatten(1, (side, side))}
        if kind == "DINOv3ConvNext":  # it normalises its maps
            return {"pooled": model(x).pooler_output}
        tower = getattr(model, "vision_model", model)
        if kind.startswith(("Dinov2", "DINOv3")):
            return {"features": tower(x).last_hidden_state}
        found = tower(x, interpolate_pos_encoding=True)
        if kind.startswith("CLIP"):  # it normalises the class token only
            return {"features": tower.post_layernorm(found.last_hidden_state)}
        pooled = {"pooled": found.pooler_output} if kind.startswith("Siglip") else {}
        return {"features": found.last_hidden_state} | pooled

    return tensors, model, forward


def _floats(state) -> dict:
    return {name: value for name, value in state.items() if value.is_floating_point()}


def compare(root: Path, only: str, double: bool) -> None:
    if double:
        import keras

        keras.config.set_floatx("float64")
        keras.config.set_dtype_policy("float64")
    print("| backbone | library | size | all outputs | class token | the original's: all | class token |")
    print("|---|---|---|---|---|---|---|")
    for case in CASES:
        if only in case[0] and folder_of(case, root).is_dir():
            for side in case[5]:
                compare_one(case, folder_of(case, root), side)


def compare_one(case, folder: Path, side: int) -> None:
    from tlkeras.models import BACKBONES
    from tlkeras.models.weights.load import load_backbone

    row = BACKBONES.get(case[0])
    kept = dict(np.load(folder / f"{side}.npz"))
    for key in [key for key in kept if "/" not in key]:
        options = case[1] | unpooled(row, key)
        model, report = load_backbone(row, str(folder / "model.safetensors"), (side, side, 3), options)
        assert not report.unmatched
        cells = []
        x = random_pictures(PICTURES, side).astype(model.dtype)
        for found in (np.asarray(model(x)), kept[f"{key}/float32"]):
            cells.append(difference(kept[key], found))
            with_class = found.ndim == 3 and row.family.pooling.startswith("class")
            cells.append(difference(kept[key][:, 0], found[:, 0]) if with_class else "")
        what = "" if key == "features" else f" ({key})"
        what += f" `{json.dumps(case[1])}`" if case[1] else ""
        print(f"| `{case[0]}`{what} | {case[2]} | {side} | {' | '.join(cells)} |", flush=True)


def unpooled(row, key: str) -> dict:
    """Returns the option under which a backbone puts out the features that the key names."""
    takes = inspect.signature(row.function).parameters
    return {x: False for x in ("attention_pool", "pooled") if key == "features" and x in takes}


def difference(expected: np.ndarray, found: np.ndarray) -> str:
    spread = (expected - expected.mean(axis=0)).std()
    return f"{np.abs(expected - found).max() / spread:.1e}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--originals", type=Path, help="write random weights and their outputs here")
    parser.add_argument("--compare", type=Path, help="compare with what --originals wrote here")
    parser.add_argument("--only", default="", help="part of the name of a backbone")
    parser.add_argument("--double", action="store_true", help="compare in float64")
    parser.add_argument("--fixtures", action="store_true", help="write tests/models/tiny_originals.json")
    words = parser.parse_args()
    if words.fixtures:
        write_fixtures()
    if words.originals:
        write_originals(words.originals, words.only)
    if words.compare:
        compare(words.compare, words.only, words.double)

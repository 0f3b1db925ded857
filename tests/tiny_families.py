"""A tiny network of each family of backbones that is built here, and a stage that trains two blocks of it."""

import keras
import numpy as np

from tlkeras.config import (
    CacheConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
)
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.training.trainer import Trainer

SIZE = {"width": 12, "depth": 3, "heads": 3, "patch": 8}
SWIN = {"width": 12, "depths": [2, 2], "heads": 1, "window": 4}
SWIN_BLOCKS = "stem stage_0_block_0 stage_0_block_1 stage_1_downsample stage_1_block_0 stage_1_block_1"

# backbone: options that make it tiny but keep each kind of block of the family, names of its blocks then
TINY = {
    "vit_tiny": (SIZE | {"drop_path_rate": 0.1}, "stem block_0 block_1 block_2"),
    "deit_tiny_distilled": (SIZE, "stem block_0 block_1 block_2"),
    "dinov2_small_registers": (SIZE, "stem block_0 block_1 block_2"),
    "dinov3_small": (SIZE, "stem block_0 block_1 block_2"),
    "clip_base_16": (SIZE, "stem block_0 block_1 block_2"),
    "siglip_base": (SIZE, "stem block_0 block_1 block_2"),
    "convnextv2_atto": (
        {"depths": [1, 1, 2, 1], "width": 4, "drop_path_rate": 0.1},
        "stem stage_0_block_0 stage_1_downsample stage_1_block_0 stage_2_downsample stage_2_block_0 "
        "stage_2_block_1 stage_3_downsample stage_3_block_0",
    ),
    "dinov3_convnext_tiny": (
        {"depths": [1, 2], "width": 4},
        "stem stage_0_block_0 stage_1_downsample stage_1_block_0 stage_1_block_1",
    ),
    "mobilenetv4_conv_small": (
        {
            "stem": 8,
            "stages": [
                "conv3/2 8",
                "fused3/2*2 8",
                "uib5|5/2*3 16, uib-|3*2 16",
                "uib3|-/2*6 16, uib-|-*4 8",
            ],
            "drop_path_rate": 0.1,
        },
        "stem stage_0_block_0 stage_1_block_0 stage_2_block_0 stage_2_block_1 stage_3_block_0 "
        "stage_3_block_1 top",
    ),
    "swin_tiny": (
        SWIN | {"drop_path_rate": 0.1},
        SWIN_BLOCKS,
    ),
    "swinv2_tiny": (
        SWIN,
        SWIN_BLOCKS,
    ),
}


def trained(name, folder, cached):
    """Returns the backbone's weights by layer before and after a stage that trains two blocks."""
    rng = np.random.default_rng(0)
    y = np.arange(76) % 3
    x = (rng.integers(0, 120, (76, 32, 32, 3)) + 60 * y[:, None, None, None]).astype(np.uint8)
    splits = {"train": (x[:64], y[:64]), "val": (x[64:70], y[64:70]), "test": (x[70:], y[70:])}
    keras.backend.clear_session()
    # 32 rows are a batch of features, too; steps in a loop round in other places than a single one
    fit = {"optimizer": OptimizerConfig(learning_rate=1e-2), "steps_per_execution": 1}
    config = ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=32, batch_size=32),
        model=ModelConfig(backbone=name, weights=None, backbone_options=TINY[name][0]),
        stages=[StageConfig(name="a", train="last:2", bn="train", epochs=1, **fit)],
        cache=CacheConfig(enabled=cached, dir=str(folder / "cache"), extractor="exact"),
    )
    parts, run_dir = prepare(config, splits), RunDir(folder)
    layers = [x for x in parts.model.backbone.layers if x.weights]
    before = {x.name: x.get_weights() for x in layers}
    run_dir.start(config.model_dump(mode="json"))
    try:
        Trainer(parts, run_dir).train()
    finally:
        run_dir.lock.release()
    return before, {x.name: x.get_weights() for x in layers}


def of_the_last_two(name, layers):
    """Returns those layers of a tiny network that belong to its last two blocks or follow them."""
    opened = tuple(f"{block}_" for block in TINY[name][1].split()[-2:])
    return {layer for layer in layers if layer.startswith((*opened, "head_", "pool_")) or layer == "norm"}

"""A tiny network of each family of backbones that is built here, with each kind of block of the family."""

SIZE = {"width": 12, "depth": 3, "heads": 3, "patch": 8}
SWIN = {"width": 12, "depths": [2, 2], "heads": 1, "window": 4}
SWIN_BLOCKS = "stem stage_0_block_0 stage_0_block_1 stage_1_downsample stage_1_block_0 stage_1_block_1"

# backbone: options that make it tiny, names of its blocks then
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

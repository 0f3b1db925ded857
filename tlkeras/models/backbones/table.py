"""The facts of the backbones of keras.applications."""

from typing import Any

from tlkeras.models.backbones.registry import BACKBONES, LOW_RATE, Backbone, Family

_TF_KERNELS = "_weights_tf_dim_ordering_tf_kernels"
_STEM_CONVOLUTION = (r"^(conv2d(?:_\d+)?)$", r"\1")
_MBCONV = ((r"^(block\d+[a-z]+)_", r"\1"), (r"^(stem|top)_", r"\1"))
_RESIDUAL = ((r"^(conv\d_block\d+)_", r"\1"), (r"^(conv1)_", r"\1"))

_CONVNEXT = Family(
    "identity",
    ((r"(stage_\d+_block_\d+)", r"\1"), (r"(downsampling_block_\d+|stem)$", r"\1")),
    "{name}_notop.h5",
    rate=LOW_RATE,
)
_DENSENET = Family(
    "torch",
    ((r"^(conv\d+_block\d+)_", r"\1"), (r"^(conv1|pool[2-4])_", r"\1")),
    "{app}" + _TF_KERNELS + "_notop.h5",
)
_EFFICIENTNET = Family("identity", _MBCONV, "{app}_notop.h5")
_EFFICIENTNET_V2 = Family("identity", _MBCONV, "efficientnetv2-{last}_notop.h5")
_INCEPTION_RESNET_V2 = Family(
    "tf",
    ((r"^(block\d+_\d+|mixed_\d[ab]|conv_7b)", r"\1"), _STEM_CONVOLUTION),
    "{name}" + _TF_KERNELS + "_notop.h5",
    min_size=75,
)
_INCEPTION_V3 = Family(
    "tf",
    ((r"^(mixed\d+)$", r"\1"), _STEM_CONVOLUTION),
    "{name}" + _TF_KERNELS + "_notop.h5",
    min_size=75,
)
_MOBILENET = Family(
    "tf",
    ((r"^conv_(?:dw|pw|pad)_(\d+)", r"block_\1"), (r"^(conv1)$", r"\1")),
    "mobilenet_{alpha_}_{rows}_tf_no_top.h5",
    (128, 160, 192, 224),
)
_MOBILENET_V2 = Family(
    "tf",
    ((r"^(block_\d+|expanded_conv|Conv1|Conv_1)", r"\1"),),
    "mobilenet_v2" + _TF_KERNELS + "_{alpha}_{rows}_no_top.h5",
    (96, 128, 160, 192, 224),
)
_MOBILENET_V3 = Family(
    "identity",
    ((r"^(expanded_conv_\d+)_", r"\1"), (r"^(expanded_conv|conv_1)", r"\1"), (r"^(conv)$", r"\1")),
    "weights_mobilenet_v3_{last}{minimalistic}_224_{alpha}_float_no_top_v2.h5",
)
_NASNET = Family(
    "tf",
    (
        (r"^(?:normal|reduction)_concat_(\w+)$", r"cell_\1"),
        (r"_(?:left|right|conv_|add_?)\d_(stem_\d|reduce_\d+|\d+)$", r"cell_\1"),
        (r"^(stem)_conv1$", r"\1"),
    ),
    "{name}_no_top.h5",
    live_tensors=2,
)
_RESNET = Family("caffe", _RESIDUAL, "{app}" + _TF_KERNELS + "_notop.h5")
_RESNET_V2 = Family("tf", _RESIDUAL, "{app}" + _TF_KERNELS + "_notop.h5")
_VGG = Family("caffe", ((r"^(block\d_conv\d)$", r"\1"),), "{app}" + _TF_KERNELS + "_notop.h5")
_XCEPTION = Family(
    "tf",
    ((r"^(block\d+)_(?:sep)?conv\d$", r"\1"),),
    "{app}" + _TF_KERNELS + "_notop.h5",
    min_size=71,
)

# name, function of keras.applications, family, default size, parameters without top, millions of
# multiply-adds, top-1 (Keras' table), Grad-CAM layer, blocks (`block2a..c` is block2a, block2b, block2c)
_ROWS: tuple[tuple[str, str, Family, int, int, int, float, str, str], ...] = (
    ("convnext_tiny", "ConvNeXtTiny", _CONVNEXT, 224, 27_820_128, 4_455, 81.3, "layer_normalization",
     "stem stage_0_block_0..2 downsampling_block_0 stage_1_block_0..2 downsampling_block_1 "
     "stage_2_block_0..8 downsampling_block_2 stage_3_block_0..2"),
    ("convnext_small", "ConvNeXtSmall", _CONVNEXT, 224, 49_454_688, 8_683, 82.3, "layer_normalization",
     "stem stage_0_block_0..2 downsampling_block_0 stage_1_block_0..2 downsampling_block_1 "
     "stage_2_block_0..26 downsampling_block_2 stage_3_block_0..2"),
    ("convnext_base", "ConvNeXtBase", _CONVNEXT, 224, 87_566_464, 15_354, 85.3, "layer_normalization",
     "stem stage_0_block_0..2 downsampling_block_0 stage_1_block_0..2 downsampling_block_1 "
     "stage_2_block_0..26 downsampling_block_2 stage_3_block_0..2"),
    ("convnext_large", "ConvNeXtLarge", _CONVNEXT, 224, 196_230_336, 34_360, 86.3, "layer_normalization",
     "stem stage_0_block_0..2 downsampling_block_0 stage_1_block_0..2 downsampling_block_1 "
     "stage_2_block_0..26 downsampling_block_2 stage_3_block_0..2"),
    ("convnext_xlarge", "ConvNeXtXLarge", _CONVNEXT, 224, 348_147_968, 60_919, 86.7, "layer_normalization",
     "stem stage_0_block_0..2 downsampling_block_0 stage_1_block_0..2 downsampling_block_1 "
     "stage_2_block_0..26 downsampling_block_2 stage_3_block_0..2"),
    ("densenet121", "DenseNet121", _DENSENET, 224, 7_037_504, 2_833, 75.0, "relu",
     "conv1 conv2_block1..6 pool2 conv3_block1..12 pool3 conv4_block1..24 pool4 conv5_block1..16"),
    ("densenet169", "DenseNet169", _DENSENET, 224, 12_642_880, 3_358, 76.2, "relu",
     "conv1 conv2_block1..6 pool2 conv3_block1..12 pool3 conv4_block1..32 pool4 conv5_block1..32"),
    ("densenet201", "DenseNet201", _DENSENET, 224, 18_321_984, 4_289, 77.3, "relu",
     "conv1 conv2_block1..6 pool2 conv3_block1..12 pool3 conv4_block1..48 pool4 conv5_block1..32"),
    ("efficientnet_b0", "EfficientNetB0", _EFFICIENTNET, 224, 4_049_571, 385, 77.1, "top_activation",
     "stem block1a block2a..b block3a..b block4a..c block5a..c block6a..d block7a top"),
    ("efficientnet_b1", "EfficientNetB1", _EFFICIENTNET, 240, 6_575_239, 686, 79.1, "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..d block5a..d block6a..e block7a..b top"),
    ("efficientnet_b2", "EfficientNetB2", _EFFICIENTNET, 260, 7_768_569, 992, 80.1, "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..d block5a..d block6a..e block7a..b top"),
    ("efficientnet_b3", "EfficientNetB3", _EFFICIENTNET, 300, 10_783_535, 1_826, 81.6, "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..e block5a..e block6a..f block7a..b top"),
    ("efficientnet_b4", "EfficientNetB4", _EFFICIENTNET, 380, 17_673_823, 4_392, 82.9, "top_activation",
     "stem block1a..b block2a..d block3a..d block4a..f block5a..f block6a..h block7a..b top"),
    ("efficientnet_b5", "EfficientNetB5", _EFFICIENTNET, 456, 28_513_527, 10_264, 83.6, "top_activation",
     "stem block1a..c block2a..e block3a..e block4a..g block5a..g block6a..i block7a..c top"),
    ("efficientnet_b6", "EfficientNetB6", _EFFICIENTNET, 528, 40_960_143, 19_065, 84.0, "top_activation",
     "stem block1a..c block2a..f block3a..f block4a..h block5a..h block6a..k block7a..c top"),
    ("efficientnet_b7", "EfficientNetB7", _EFFICIENTNET, 600, 64_097_687, 37_743, 84.3, "top_activation",
     "stem block1a..d block2a..g block3a..g block4a..j block5a..j block6a..m block7a..d top"),
    ("efficientnet_v2_b0", "EfficientNetV2B0", _EFFICIENTNET_V2, 224, 5_919_312, 717, 78.7, "top_activation",
     "stem block1a block2a..b block3a..b block4a..c block5a..e block6a..h top"),
    ("efficientnet_v2_b1", "EfficientNetV2B1", _EFFICIENTNET_V2, 240, 6_931_124, 1_196, 79.8,
     "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..d block5a..f block6a..i top"),
    ("efficientnet_v2_b2", "EfficientNetV2B2", _EFFICIENTNET_V2, 260, 8_769_374, 1_696, 80.5,
     "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..d block5a..f block6a..j top"),
    ("efficientnet_v2_b3", "EfficientNetV2B3", _EFFICIENTNET_V2, 300, 12_930_622, 3_010, 82.0,
     "top_activation",
     "stem block1a..b block2a..c block3a..c block4a..e block5a..g block6a..l top"),
    ("efficientnet_v2_s", "EfficientNetV2S", _EFFICIENTNET_V2, 384, 20_331_360, 8_364, 83.9, "top_activation",
     "stem block1a..b block2a..d block3a..d block4a..f block5a..i block6a..o top"),
    ("efficientnet_v2_m", "EfficientNetV2M", _EFFICIENTNET_V2, 480, 53_150_388, 24_581, 85.3,
     "top_activation",
     "stem block1a..c block2a..e block3a..e block4a..g block5a..n block6a..r block7a..e top"),
    ("efficientnet_v2_l", "EfficientNetV2L", _EFFICIENTNET_V2, 480, 117_746_848, 56_078, 85.7,
     "top_activation",
     "stem block1a..d block2a..g block3a..g block4a..j block5a..s block6a..y block7a..g top"),
    ("inception_resnet_v2", "InceptionResNetV2", _INCEPTION_RESNET_V2, 299, 54_336_736, 13_154, 80.3,
     "conv_7b_ac",
     "conv2d conv2d_1..4 mixed_5b block35_1..10 mixed_6a block17_1..20 mixed_7a block8_1..10 conv_7b"),
    ("inception_v3", "InceptionV3", _INCEPTION_V3, 299, 21_802_784, 5_711, 77.9, "mixed10",
     "conv2d conv2d_1..4 mixed0..10"),
    ("mobilenet", "MobileNet", _MOBILENET, 224, 3_228_864, 568, 70.4, "conv_pw_13_relu",
     "conv1 block_1..13"),
    ("mobilenet_v2", "MobileNetV2", _MOBILENET_V2, 224, 2_257_984, 299, 71.3, "out_relu",
     "Conv1 expanded_conv block_1..16 Conv_1"),
    ("mobilenet_v3_small", "MobileNetV3Small", _MOBILENET_V3, 224, 939_120, 55, 68.1, "activation_17",
     "conv expanded_conv expanded_conv_1..10 conv_1"),
    ("mobilenet_v3_large", "MobileNetV3Large", _MOBILENET_V3, 224, 2_996_352, 214, 75.6, "activation_19",
     "conv expanded_conv expanded_conv_1..14 conv_1"),
    ("nasnet_mobile", "NASNetMobile", _NASNET, 224, 4_269_716, 563, 74.4, "activation_187",
     "stem cell_stem_1..2 cell_0..3 cell_reduce_4 cell_5..8 cell_reduce_8 cell_9..12"),
    ("nasnet_large", "NASNetLarge", _NASNET, 331, 84_916_818, 23_779, 82.5, "activation_259",
     "stem cell_stem_1..2 cell_0..5 cell_reduce_6 cell_7..12 cell_reduce_12 cell_13..18"),
    ("resnet50", "ResNet50", _RESNET, 224, 23_587_712, 3_856, 74.9, "conv5_block3_out",
     "conv1 conv2_block1..3 conv3_block1..4 conv4_block1..6 conv5_block1..3"),
    ("resnet101", "ResNet101", _RESNET, 224, 42_658_176, 7_568, 76.4, "conv5_block3_out",
     "conv1 conv2_block1..3 conv3_block1..4 conv4_block1..23 conv5_block1..3"),
    ("resnet152", "ResNet152", _RESNET, 224, 58_370_944, 11_280, 76.6, "conv5_block3_out",
     "conv1 conv2_block1..3 conv3_block1..8 conv4_block1..36 conv5_block1..3"),
    ("resnet50_v2", "ResNet50V2", _RESNET_V2, 224, 23_564_800, 3_480, 76.0, "post_relu",
     "conv1 conv2_block1..3 conv3_block1..4 conv4_block1..6 conv5_block1..3"),
    ("resnet101_v2", "ResNet101V2", _RESNET_V2, 224, 42_626_560, 7_192, 77.2, "post_relu",
     "conv1 conv2_block1..3 conv3_block1..4 conv4_block1..23 conv5_block1..3"),
    ("resnet152_v2", "ResNet152V2", _RESNET_V2, 224, 58_331_648, 10_905, 78.0, "post_relu",
     "conv1 conv2_block1..3 conv3_block1..8 conv4_block1..36 conv5_block1..3"),
    ("vgg16", "VGG16", _VGG, 224, 14_714_688, 15_347, 71.3, "block5_conv3",
     "block1_conv1..2 block2_conv1..2 block3_conv1..3 block4_conv1..3 block5_conv1..3"),
    ("vgg19", "VGG19", _VGG, 224, 20_024_384, 19_508, 71.3, "block5_conv4",
     "block1_conv1..2 block2_conv1..2 block3_conv1..4 block4_conv1..4 block5_conv1..4"),
    ("xception", "Xception", _XCEPTION, 299, 20_861_480, 8_355, 79.0, "block14_sepconv2_act",
     "block1..14"),
)  # fmt: skip

for _name, _function, _family, _size, _parameters, _macs, _top1, *_layers in _ROWS:
    _facts: tuple[Any, ...] = (
        _name,
        f"keras.applications:{_function}",
        _family,
        _size,
        _parameters,
        *_layers,
    )
    BACKBONES.add(_name, Backbone(*_facts, million_macs=_macs, top1=_top1))

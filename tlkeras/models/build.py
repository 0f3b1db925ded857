"""From a model config to a model that can be trained."""

import keras

from tlkeras.config import ModelConfig
from tlkeras.models.backbones import BACKBONES
from tlkeras.models.cut_points import find_blocks
from tlkeras.models.graph import leaf_layers
from tlkeras.models.heads import HEADS, build_head
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck
from tlkeras.models.preprocessing import build_preprocessing
from tlkeras.models.transfer_model import TransferModel
from tlkeras.models.weights import load_backbone


def build_model(
    config: ModelConfig, *, input_shape: tuple[int, ...], num_outputs: int, seed: int = 0
) -> TransferModel:
    """Builds preprocessing, backbone, neck and head.

    Names of layers and variables, and every initial weight that is not loaded, depend on the arguments
    alone and not on what the process built before. Make it inside the scope of a strategy, and after the
    dtype policy is set.

    Args:
        config: Backbone, weights, neck and head.
        input_shape: Shape of one raw input, `(height, width, 3)` or `(d,)`.
        num_outputs: Number of logits.
        seed: Seed of the initial weights and of dropout.

    Raises:
        UserError: Where the config names what does not exist, or weights cannot be had.
    """
    row = BACKBONES.get(config.backbone)
    head_row = HEADS.get(config.head.name)
    input_shape = tuple(input_shape)
    with reproducible(seed, "backbone"):
        backbone, report = load_backbone(row, config.weights, input_shape, config.backbone_options)
    if config.bn_momentum is not None:
        for layer in leaf_layers([backbone]):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = config.bn_momentum
    neck_config = config.neck
    if head_row.pooling is not None:
        neck_config = neck_config.model_copy(update={"pooling": head_row.pooling})
    with reproducible(seed, "neck"):
        neck = build_neck(neck_config, backbone.outputs[0])
    with reproducible(seed, "head"):
        head = build_head(config.head, num_outputs, neck.outputs[0])
    with reproducible(seed, "model"):
        preprocess = build_preprocessing(row.family.preprocessing, input_shape)
        blocks = find_blocks(backbone, row.family)
        model = TransferModel(preprocess, backbone, blocks, neck, head, report, name="model")
        model.build()
    return model

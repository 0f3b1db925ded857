"""Construction of a transfer model from a model config."""

import keras

from tlkeras.config import HeadConfig, ModelConfig, NeckConfig
from tlkeras.data.input_shapes import Shape, shape_from_json
from tlkeras.data.modalities import MODALITIES, several_name
from tlkeras.errors import UserError
from tlkeras.models.adapter import behind_adapter, build_adapter, preprocessing_of
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.backbones.registry import BACKBONES, Family
from tlkeras.models.column_values import width_of
from tlkeras.models.cuts.cut_points import find_blocks
from tlkeras.models.cuts.graph import leaf_layers
from tlkeras.models.front_end import picture_shape
from tlkeras.models.heads import HEADS, build_head
from tlkeras.models.joined import behind_join, build_join, build_joined, parts_in
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck
from tlkeras.models.nesting import nest
from tlkeras.models.transfer_model import TransferModel
from tlkeras.models.weights.load import load_backbone


def build_model(config: ModelConfig, *, input_shape: Shape, num_outputs: int, seed: int = 0) -> TransferModel:
    """Builds preprocessing, backbone (with an adapter or a nested model), neck and head.

    Names of layers and variables, and initial weights that are not loaded, depend only on the arguments and
    not on earlier models of the process. The function must be called in the scope of the strategy and after
    the dtype policy is set.

    Args:
        config: Config of backbone, weights, neck and head.
        input_shape: Shape of one raw input, `(height, width, 3)` or `(d,)`, or a dict of shapes for several
            inputs.
        num_outputs: Number of logits.
        seed: Seed of the initial weights and of dropout.

    Returns:
        Model from raw inputs `(b, *input_shape)` to float32 logits `(b, num_outputs)`.

    Raises:
        UserError: The config contains an unknown name, or weights are not available.
    """
    row = BACKBONES.get(config.backbone)
    HEADS.get(config.head.name)
    input_shape = shape_from_json(input_shape)
    _check_parts(config, input_shape)
    if config.beside:
        return _with_towers(config, input_shape, num_outputs, seed)
    taken = _taken(config, input_shape)
    with reproducible(seed, "backbone"):
        backbone, report = load_backbone(row, config.weights, taken, config.backbone_options)
    if config.bn_momentum is not None:
        for layer in leaf_layers([backbone]):
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = config.bn_momentum
    neck_config = neck_for(config.neck, config.head, row.family)
    prefix = row.prefix_tokens(config.backbone_options)
    preprocess, backbone, blocks = _body(config, neck_config, input_shape, backbone, seed)
    with reproducible(seed, "neck"):
        neck = build_neck(neck_config, backbone.outputs[0], prefix, row.family.pads)
    with reproducible(seed, "head"):
        head = build_head(config.head, num_outputs, neck.outputs[0])
    with reproducible(seed, "model"):
        model = TransferModel(preprocess, backbone, blocks, neck, head, report, name="model")
        model.build()
    return model


def _taken(config: ModelConfig, input_shape: Shape) -> Shape:
    """Returns the shape of one input of the backbone."""
    if config.adapter is not None:
        return config.adapter.units[-1:]
    if config.columns:
        return (width_of(config.columns),)
    return input_shape if config.front_end is None else picture_shape(input_shape[0], config.front_end)


def _with_towers(config: ModelConfig, input_shape: Shape, num_outputs: int, seed: int) -> TransferModel:
    """Builds a model with a backbone for each part of a row; see `tlkeras.models.joined`."""
    dtypes = MODALITIES.get(several_name(parts_in(input_shape))).dtypes
    backbone, towers, report = build_joined(config, input_shape, dtypes, seed)
    with reproducible(seed, "preprocess"):
        preprocess = build_preprocessing("identity", input_shape, dtypes)
    widths = tuple(tower.blocks[-1].cut.tensors[0].shape[-1] for tower in towers)
    with reproducible(seed, "neck"):
        neck = behind_join(build_join(config.join, widths), config.neck)
    with reproducible(seed, "head"):
        head = build_head(config.head, num_outputs, neck.outputs[0])
    blocks = [block for tower in towers for block in tower.blocks]
    with reproducible(seed, "model"):
        model = TransferModel(preprocess, backbone, blocks, neck, head, report, towers, name="model")
        model.build()
    return model


def _check_parts(config: ModelConfig, input_shape: Shape) -> None:
    for part in ("adapter", "nested"):
        if isinstance(input_shape, dict) and getattr(config, part) is not None:
            raise UserError(
                f"model.{part} needs data with a single input: leave it out. Received: model.{part}, and "
                f"data with the inputs {', '.join(input_shape)}"
            )


def neck_for(neck: NeckConfig, head: HeadConfig, family: Family) -> NeckConfig:
    """Returns the neck with the pooling that the head needs, else its own, else that of the family.

    Args:
        neck: Config of the neck.
        head: Config of the head.
        family: Family of the backbone.
    """
    pooling = HEADS.get(head.name).pooling or neck.pooling or family.pooling
    return neck.model_copy(update={"pooling": pooling})


def _body(config: ModelConfig, neck: NeckConfig, input_shape: Shape, backbone: keras.Model, seed: int):
    """Returns preprocessing, backbone and blocks, with an adapter or a nested model if there is one."""
    row = BACKBONES.get(config.backbone)
    family, dtypes = row.family, MODALITIES.get(row.modalities[0]).dtypes
    blocks, mode = find_blocks(backbone, family), family.preprocessing
    if config.adapter is not None:
        with reproducible(seed, "adapter"):
            adapter = build_adapter(config.adapter, input_shape)
        backbone, blocks = behind_adapter(adapter, backbone, blocks)
        mode = preprocessing_of(config.adapter)
    with reproducible(seed, "preprocess"):
        preprocess = build_preprocessing(mode, input_shape, dtypes, config.front_end, config.columns)
    if config.nested is not None:
        with reproducible(seed, "nested"):
            prefix = row.prefix_tokens(config.backbone_options)
            backbone, blocks = nest(config.nested, neck, preprocess, backbone, blocks, prefix)
            preprocess = build_preprocessing("identity", input_shape)
    return preprocess, backbone, blocks

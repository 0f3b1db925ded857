"""Private input branches (adapters), so that tasks with inputs of different shape share a common part."""

import dataclasses

import keras

from tlkeras.config import AdapterConfig
from tlkeras.errors import UserError
from tlkeras.models.backbones.registry import BACKBONES
from tlkeras.models.cuts.cut_points import Block, CutPoint
from tlkeras.models.cuts.graph import RenamedCopies, output_of, replay, replayed_tensors
from tlkeras.models.neck import dense_layers, pool
from tlkeras.models.weights.load import load_backbone

ADAPTER = "adapter"


def build_adapter(config: AdapterConfig, input_shape: tuple[int, ...]) -> keras.Model:
    """Returns the adapter as a functional model from the inputs of its network to vectors.

    The names of its layers begin with `adapter_`. Its network may therefore be of the same kind as the common
    part, whose weights are matched by name.

    Args:
        config: Config with network, pooling and dense layers.
        input_shape: Shape of one raw input, `(height, width, 3)` or `(d,)`.

    Returns:
        A model with outputs of shape `(b, config.units[-1])`.
    """
    row = BACKBONES.get(config.backbone)
    network, _ = load_backbone(row, config.weights, input_shape, config.backbone_options)
    inputs = keras.Input(input_shape, dtype="float32", name="adapter_inputs")
    copies = RenamedCopies(f"{ADAPTER}_")
    prefix = row.prefix_tokens(config.backbone_options)
    x = pool(replay(network, inputs, copies), config.pooling, ADAPTER, prefix)
    copies.take_weights()
    return keras.Model(inputs, dense_layers(config, x, ADAPTER), name=ADAPTER)


def preprocessing_of(config: AdapterConfig) -> str:
    """Returns the name of the preprocessing for the adapter's network."""
    return BACKBONES.get(config.backbone).family.preprocessing


def adapter_layers(backbone: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of the adapter in a backbone. The list is empty without an adapter."""
    return [layer for layer in backbone.layers if layer.name.startswith(f"{ADAPTER}_")]


def adapter_and_common(backbone: keras.Model) -> tuple[keras.Model, keras.Model] | tuple[None, None]:
    """Returns the adapter and the common part of a backbone, which share its layers, or `(None, None)`."""
    layers = adapter_layers(backbone)
    if not layers:
        return None, None
    meeting = output_of(backbone, layers[-1].name)
    adapter = keras.Model(backbone.inputs, meeting, name=ADAPTER)
    return adapter, keras.Model(meeting, backbone.outputs[0], name="common")


def behind_adapter(
    adapter: keras.Model, common: keras.Model, blocks: list[Block]
) -> tuple[keras.Model, list[Block]]:
    """Returns a backbone of adapter and common part, and its blocks, of which the first is `adapter`.

    Args:
        adapter: Adapter that `build_adapter` returned.
        common: Common part, a functional model of vectors.
        blocks: Blocks of the common part.

    Raises:
        UserError: The common part does not take such vectors.
    """
    if tuple(adapter.output_shape) != tuple(common.input_shape):
        raise UserError(
            f"An adapter returns vectors, but {common.name} takes {common.input_shape[1:]}. Received: "
            f"adapter.units ending in {adapter.output_shape[-1]}"
        )
    x = inputs = keras.Input(adapter.input_shape[1:], dtype="float32", name="backbone_inputs")
    x = replay(adapter, x)
    known = replayed_tensors(common, x)
    backbone = keras.Model(inputs, known[id(common.outputs[0])], name=common.name)
    first = Block(
        ADAPTER, tuple(adapter.layers[1:]), CutPoint(adapter.layers[-1].name, (x,)), trains="always"
    )
    return backbone, [first, *moved(blocks, known)]


def moved(blocks: list[Block], known: dict, beside: tuple = ()) -> list[Block]:
    """Returns blocks with their cuts in another graph, in which the same layers were replayed.

    Args:
        blocks: Blocks of the replayed graph.
        known: Tensors that `replayed_tensors` returned.
        beside: Further tensors that cross each of these cuts.
    """
    cuts = [CutPoint(b.cut.name, (*beside, *(known[id(t)] for t in b.cut.tensors))) for b in blocks]
    return [dataclasses.replace(block, cut=cut) for block, cut in zip(blocks, cuts, strict=True)]

"""The meaning of `train`: the blocks and layers that a stage opens."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tlkeras.errors import UserError, nearest
from tlkeras.models.cuts.cut_points import Block
from tlkeras.models.cuts.graph import leaf_layers


@dataclass(frozen=True)
class Selection:
    """The trained part of a model in a stage.

    Attributes:
        train: Value of the config, e.g. `last:2`.
        bn: Value of `bn` in the config.
        blocks: Names of the blocks with trained layers, from input to output.
        layers: Names of the opened layers of the backbone.
        cut: Name of the layer up to which everything is frozen, or None if nothing is frozen.
        depths: Depths by variable path: 0 for neck and head, 1 for the last block, 2 for the block before it,
            and so on.
    """

    train: str
    bn: str
    blocks: tuple[str, ...]
    layers: frozenset[str]
    cut: str | None
    depths: dict[str, int]


def opened_layers(blocks: Sequence[Block], train: str, backbone: str) -> list[tuple[int, keras.layers.Layer]]:
    """Returns `(index of the block, layer)` for each layer of the backbone that `train` opens.

    `train` neither names nor counts blocks that are always or never open.

    Args:
        blocks: Blocks of the backbone, from input to output.
        train: Trained part: `head`, `last:N`, `from:NAME`, `all` or `regex:PATTERN`.
        backbone: Name of the backbone in messages.

    Raises:
        UserError: `train` does not name a block or layer of this backbone, or it names too many blocks.
    """
    always = [(i, x) for i, block in enumerate(blocks) if block.trains == "always" for x in block.layers]
    by_stage = [i for i, block in enumerate(blocks) if block.trains == "by_stage"]
    opened = _opened_by_stage([blocks[i] for i in by_stage], train, backbone)
    return always + [(by_stage[i], layer) for i, layer in opened]


def _opened_by_stage(
    blocks: Sequence[Block], train: str, backbone: str
) -> list[tuple[int, keras.layers.Layer]]:
    kind, _, argument = train.partition(":")
    if kind == "regex":
        return _matching_layers(blocks, argument, train, backbone)
    if kind == "head":
        first = len(blocks)
    elif kind == "all":
        first = 0
    elif kind == "last":
        first = len(blocks) - _number_of_blocks(argument, blocks, train, backbone)
    elif kind == "from":
        first = _block_index(blocks, argument, train, backbone)
    else:
        raise UserError(
            "train must be 'head', 'last:N', 'from:BLOCK', 'all' or 'regex:PATTERN'. "
            f"Received: train={train!r}"
        )
    return [(i, layer) for i, block in enumerate(blocks) if i >= first for layer in block.layers]


def _number_of_blocks(argument: str, blocks, train: str, backbone: str) -> int:
    if not blocks:
        raise UserError(f"{backbone} has no blocks: use train='head'. Received: train={train!r}")
    if not argument.isdigit() or not 1 <= int(argument) <= len(blocks):
        raise UserError(
            f"{backbone} has {len(blocks)} blocks: N of train='last:N' must lie in "
            f"1..{len(blocks)}. Received: train={train!r}"
        )
    return int(argument)


def _block_index(blocks, name: str, train: str, backbone: str) -> int:
    names = [block.name for block in blocks]
    if name not in names:
        raise UserError(
            f"{backbone} has no block {name!r}.{nearest(name, names)} Allowed: "
            f"{', '.join(names) or 'no blocks'}. Received: train={train!r}"
        )
    return names.index(name)


def _matching_layers(blocks, pattern: str, train: str, backbone: str):
    try:
        search = re.compile(pattern).search
    except re.error as error:
        raise UserError(
            f"The pattern is not a regular expression: {error}. Received: train={train!r}"
        ) from error
    layers = [(i, leaf) for i, block in enumerate(blocks) for leaf in leaf_layers(block.layers)]
    with_weights = [(i, layer) for i, layer in layers if layer.variables]
    matched = [(i, layer) for i, layer in with_weights if search(layer.name)]
    if not matched:
        names = [layer.name for _, layer in with_weights]
        raise UserError(
            f"No layer with weights of {backbone} matches.{nearest(pattern, names)} Received: train={train!r}"
        )
    return matched

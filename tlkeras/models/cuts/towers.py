"""The blocks of several backbones side by side, each of which a stage opens by itself."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tlkeras.config.stage import train_by_part
from tlkeras.errors import UserError, unknown
from tlkeras.models.cuts.cut_points import Block, CutPoint
from tlkeras.models.cuts.freezing import opened_layers


@dataclass(frozen=True)
class Tower:
    """One of several backbones in a graph.

    Attributes:
        name: Name of the part of a row that it reads, which its blocks and layers begin with.
        inputs: Symbolic tensors that its first block reads.
        blocks: Its blocks, from input to output. The cut after the last one is a single vector.
        always: Whether every stage trains all of it.
    """

    name: str
    inputs: tuple
    blocks: tuple[Block, ...]
    always: bool = False


def opened_towers(
    towers: Sequence[Tower], train: str
) -> tuple[tuple[Block, ...], list[tuple[int, keras.layers.Layer]]]:
    """Returns the blocks of all towers in the order of a stage, and what it opens as `opened_layers` does.

    The frozen blocks of every tower come first. A cut passes through all towers, so that the trunk of a stage
    holds what is frozen in each of them.

    Args:
        towers: The backbones.
        train: Trained part. Without names of parts, it applies to each tower alike.

    Raises:
        UserError: `train` names no such tower, block or layer.
    """
    by_part = train_by_part(train)
    for name in by_part:
        if name not in {tower.name for tower in towers}:
            raise unknown("part in train", name, [tower.name for tower in towers])
    if not by_part and train.partition(":")[0] in ("from", "regex"):
        example = ",".join(f"{tower.name}={train}" for tower in towers[:1])
        raise UserError(f"Several backbones need names: train={example!r}. Received: train={train!r}")
    named = {t.name: by_part.get(t.name, "head") if by_part else train for t in towers}
    found = {t.name: _opened(t, "all" if t.always else named[t.name]) for t in towers}
    first = {t.name: min((i for i, _ in found[t.name]), default=len(t.blocks)) for t in towers}
    order = [(t, i) for t in towers for i in range(first[t.name])]
    order += [(t, i) for t in towers for i in range(first[t.name], len(t.blocks))]
    at = {tower.name: tower.inputs for tower in towers}
    blocks, place = [], {}
    for tower, i in order:
        block = tower.blocks[i]
        at[tower.name] = block.cut.tensors
        place[tower.name, i] = len(blocks)
        tensors = {id(tensor): tensor for tensors in at.values() for tensor in tensors}
        blocks.append(dataclasses.replace(block, cut=CutPoint(block.cut.name, tuple(tensors.values()))))
    opened = [(place[t.name, i], layer) for t in towers for i, layer in found[t.name]]
    return tuple(blocks), opened


def _opened(tower: Tower, train: str) -> list[tuple[int, keras.layers.Layer]]:
    """Returns `(index of the block, layer)` of what `train` opens, with the block names of the backbone."""
    short = [dataclasses.replace(b, name=b.name.removeprefix(f"{tower.name}_")) for b in tower.blocks]
    return opened_layers(short, train, f"The backbone of {tower.name}")

"""The cut points of a backbone, and the named blocks between them."""

import collections
import re
from dataclasses import dataclass
from typing import Any, Literal

import keras

from tlkeras.models.backbones.registry import Family
from tlkeras.models.cuts.graph import inputs_of, nodes_in_order


@dataclass(frozen=True)
class CutPoint:
    """A place of a functional graph at which everything passes through one or few tensors.

    Attributes:
        name: Name of the layer before the cut.
        tensors: Symbolic tensors at the cut. There is one, or there are two for the cells of NASNet.
    """

    name: str
    tensors: tuple


@dataclass(frozen=True)
class Block:
    """One residual, dense, inception or convolution unit.

    Attributes:
        name: Name for `train="from:NAME"`.
        layers: Layers of the block in topological order.
        cut: Cut point after the block.
        trains: Stages in which it trains: those that open it, all stages (a private adapter), or none (a
            frozen nested model).
    """

    name: str
    layers: tuple[keras.layers.Layer, ...]
    cut: CutPoint
    trains: Literal["by_stage", "always", "never"] = "by_stage"


def find_cut_points(model: keras.Model, live_tensors: int = 1) -> list[tuple[CutPoint, tuple]]:
    """Returns the cut points of a functional model, each with the operations since the one before.

    The function visits the graph in topological order and counts the tensors that later nodes read. If there
    is only one, its layer is an articulation point of the graph. If there are several inputs, cuts are
    possible only after all inputs are read.

    Args:
        model: Functional model with one output.
        live_tensors: Largest number of tensors that may cross a cut.
    """
    nodes = nodes_in_order(model)
    if live_tensors > 1:
        nodes = _narrowest_order(nodes)
    last_read = {id(t): i for i, node in enumerate(nodes) for t in node.input_tensors}
    last_read[id(model.outputs[0])] = len(nodes)
    inputs_to_come = sum(node.is_input for node in nodes)
    live, segment, cuts = {}, [], []
    for i, node in enumerate(nodes):
        segment.append(node.operation)
        inputs_to_come -= node.is_input
        live.update((id(t), t) for t in node.output_tensors)
        for key in [key for key in live if last_read.get(key, -1) <= i]:
            del live[key]
        if not inputs_to_come and len(live) <= live_tensors:
            cuts.append((CutPoint(node.operation.name, tuple(live.values())), tuple(segment)))
            segment = []
    return cuts


def find_blocks(model: keras.Model, family: Family) -> list[Block]:
    """Returns the named blocks of a backbone, from its input to its output.

    Args:
        model: Functional model with one output.
        family: Family with the names of its blocks and the number of tensors that may cross a cut.
    """
    blocks: list[Block] = []
    for cut, operations in find_cut_points(model, family.live_tensors):
        layers = tuple(op for op in operations if isinstance(op, keras.layers.Layer))
        block = Block(_block_name(layers, family.block_names), layers, cut)
        if blocks and _belongs_to(blocks[-1], block):
            name = blocks[-1].name or block.name
            block = Block(name, blocks.pop().layers + layers, cut)
        blocks.append(block)
    return blocks if blocks[-1].name else []


def _block_name(layers, block_names) -> str:
    if not block_names:
        return next((layer.name for layer in layers if layer.weights and not _normalises(layer)), "")
    for pattern, template in block_names:
        for layer in layers:
            if match := re.search(pattern, layer.name):
                return match.expand(template)
    return ""


def _normalises(layer) -> bool:
    return "Normalization" in type(layer).__name__


def _belongs_to(previous: Block, block: Block) -> bool:
    return not previous.name or block.name in ("", previous.name)


def _narrowest_order(nodes: list) -> list:
    """Returns a topological order in which a cell ends before the next but one begins.

    The next node is always the one after which the fewest tensors are live.
    """
    readers = collections.Counter(key for node in nodes for key in _inputs(node))
    made, order, waiting = set(), [], list(nodes)
    while waiting:
        ready = [n for n in waiting if all(id(t) in made for t in n.input_tensors)]
        node = min(ready, key=lambda n: _growth(n, readers))
        waiting.remove(node)
        order.append(node)
        made.update(id(t) for t in node.output_tensors)
        readers.subtract(_inputs(node))
    return order


def _inputs(node) -> set[int]:
    return {id(t) for t in node.input_tensors}


def _growth(node, readers) -> int:
    return len(node.output_tensors) - sum(readers[key] == 1 for key in _inputs(node))


def split(model: keras.Model, cut: CutPoint) -> tuple[keras.Model, keras.Model]:
    """Returns `(trunk, tail)` of a backbone, which share its layers: `tail(trunk(x)) == model(x)`.

    Args:
        model: Backbone.
        cut: Cut point of the backbone.

    Returns:
        Two functional models. A single tensor connects them. If two tensors cross the cut, they are flattened
        and concatenated to shape `(batch, n1 + n2)`.
    """
    trunk_output = _pack(cut.tensors)
    inputs = inputs_of(model)
    trunk = keras.Model(inputs if isinstance(inputs, dict) else inputs[0], trunk_output, name="trunk")
    if len(cut.tensors) == 1:
        return trunk, _tail(cut.tensors, model)
    tail = _tail(cut.tensors, model)
    x = keras.Input(trunk_output.shape[1:], dtype=trunk_output.dtype, name="cut")
    return trunk, keras.Model(x, tail(_unpack(x, cut.tensors)), name="tail")


def _tail(tensors: tuple, model: keras.Model) -> keras.Model:
    inputs: Any = tensors[0] if len(tensors) == 1 else list(tensors)
    if inputs is model.outputs[0]:
        x = keras.Input(inputs.shape[1:], dtype=inputs.dtype, name="cut")
        return keras.Model(x, keras.layers.Identity(name="tail_identity")(x), name="tail")
    return keras.Model(inputs, model.outputs[0], name="tail")


def _pack(tensors: tuple):
    if len(tensors) == 1:
        return tensors[0]
    # pixels and features in half precision are joined in float32, which pixels need
    dtype = "float32" if any(t.dtype == "float32" for t in tensors) else None
    # numbers of tokens are exact in float32
    floats = [_as(t, "float32", f"cut_float_{i}") if "int" in t.dtype else t for i, t in enumerate(tensors)]
    flat = [keras.layers.Flatten(dtype=dtype, name=f"cut_flatten_{i}")(t) for i, t in enumerate(floats)]
    return keras.layers.Concatenate(dtype=dtype, name="cut_join")(flat)


def _unpack(x, tensors: tuple) -> list:
    parts, start = [], 0
    for i, tensor in enumerate(tensors):
        size = int(keras.ops.prod(tensor.shape[1:]))
        part = x[:, start : start + size]
        dtype = None if "int" in tensor.dtype else tensor.dtype
        reshape = keras.layers.Reshape(tensor.shape[1:], dtype=dtype, name=f"cut_reshape_{i}")
        part = reshape(part)
        parts.append(part if dtype else _as(part, tensor.dtype, f"cut_int_{i}"))
        start += size
    return parts


def _as(x, dtype: str, name: str):
    """Returns a symbolic tensor in another dtype, by a layer, whose name is its own."""
    return keras.layers.Rescaling(1.0, dtype=dtype, name=name)(x)

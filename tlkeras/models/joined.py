"""Several backbones side by side, one for each part of a row, and the joins of their features."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from tlkeras.config import FrontEndConfig, JoinConfig, ModelConfig, NeckConfig
from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities.several import PARTS
from tlkeras.models.adapter import moved
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.backbones.registry import BACKBONES
from tlkeras.models.cuts.cut_points import Block, CutPoint, find_blocks
from tlkeras.models.cuts.graph import RenamedCopies, replay, replayed_tensors
from tlkeras.models.cuts.towers import Tower
from tlkeras.models.front_end import picture_shape
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck, pool
from tlkeras.models.weights.load import WeightReport, load_backbone

_EPSILON = 1e-6


def build_joined(
    config: ModelConfig, input_shape: Mapping[str, tuple], dtypes: Mapping[str, str], seed: int
) -> tuple[keras.Model, list[Tower], WeightReport]:
    """Returns a backbone from raw inputs to the features of all parts, `(b, d)`, its towers and a report.

    The features of pictures and texts are pooled and normalised without parameters, because the larger
    features of one part would drown those of the other. A missing picture or text has features of zeros.
    Columns are standardised before their backbone, which trains in every stage if it has no weights.

    Args:
        config: Config with the backbone of the first part and those beside it.
        input_shape: Shapes of the inputs of one row, by their names.
        dtypes: Dtypes by the name of the input; others are float32.
        seed: Seed of the initial weights.

    Raises:
        UserError: A backbone does not take its part, or its weights are not available.
    """
    inputs = {
        name: keras.Input(shape, dtype=dtypes.get(name, "float32"), name=name)
        for name, shape in input_shape.items()
    }
    parts, towers, reports = parts_in(input_shape), [], {}
    for part in parts:
        beside: Any = config.beside
        network = _Network(config if part == parts[0] else beside[part])
        own = {name: inputs[name] for name in PARTS[part]}
        with reproducible(seed, f"backbone_{part}"):
            if part == "columns":
                tower, reports[part] = _columns_tower(part, network, own, config.columns)
            else:
                front_end = config.front_end if part == "sound" else None
                tower, reports[part] = _tower(part, network, own, front_end)
        towers.append(tower)
    features = [tower.blocks[-1].cut.tensors[0] for tower in towers]
    joined = layers.Concatenate(name="towers_join")(features)
    return keras.Model(inputs, joined, name="_".join(parts)), towers, _one_report(reports)


def parts_in(input_shape: Mapping[str, tuple]) -> tuple[str, ...]:
    """Returns the parts of rows with inputs of these shapes, in the order of their towers."""
    return tuple(part for part, names in PARTS.items() if names[0] in input_shape)


class _Network:
    """The settings of one backbone. `model.backbone` and `model.beside.NAME` have the same fields."""

    def __init__(self, config):
        self.row = BACKBONES.get(config.backbone)
        self.weights, self.options = config.weights, config.backbone_options
        pooling = config.neck.pooling if isinstance(config, ModelConfig) else config.pooling
        self.pooling = pooling or self.row.family.pooling


def _tower(
    part: str, network: _Network, inputs: dict, front_end: FrontEndConfig | None
) -> tuple[Tower, WeightReport]:
    shape: Shape = {name: tuple(x.shape[1:]) for name, x in inputs.items()}
    single = len(inputs) == 1
    taken = shape[part] if single else shape
    taken = taken if front_end is None else picture_shape(taken[0], front_end)
    backbone, report = load_backbone(network.row, network.weights, taken, network.options)
    raw = inputs[part] if single else inputs
    copies, beside = RenamedCopies(f"{part}_"), ()
    x = raw
    if single:
        mode = network.row.family.preprocessing
        x = replay(build_preprocessing(mode, shape[part], front_end=front_end), raw, copies)
        beside = (_is_there(raw),)
    known = replayed_tensors(backbone, x, copies)
    blocks = moved(_blocks(backbone, network), known, beside)
    blocks = [_renamed(block, part, copies) for block in blocks]
    x = known[id(backbone.outputs[0])]
    copies.take_weights()
    prefix = network.row.prefix_tokens(network.options)
    x = pool(x, network.pooling, f"{part}_neck", prefix, network.row.family.pads)
    x = layers.LayerNormalization(center=False, scale=False, epsilon=_EPSILON, name=f"{part}_features")(x)
    for there in beside:
        x = layers.Multiply(name=f"{part}_or_missing")([x, ops.cast(there, x.dtype)])
    blocks[-1] = Block(blocks[-1].name, blocks[-1].layers, CutPoint(f"{part}_features", (x,)))
    return Tower(part, (*inputs.values(), *beside), tuple(blocks)), report


def _columns_tower(
    part: str, network: _Network, inputs: dict, columns: Mapping
) -> tuple[Tower, WeightReport]:
    raw, copies = inputs[part], RenamedCopies(f"{part}_")
    values = build_preprocessing("identity", raw.shape[1:], columns=columns)
    x: Any = replay(values, raw, copies)
    backbone, report = load_backbone(network.row, network.weights, x.shape[1:], network.options)
    known = replayed_tensors(backbone, x, copies)
    blocks = [_renamed(block, part, copies) for block in moved(_blocks(backbone, network), known)]
    copies.take_weights()
    cut = CutPoint(f"{part}_features", (known[id(backbone.outputs[0])],))
    blocks[-1] = Block(blocks[-1].name, blocks[-1].layers, cut)
    return Tower(
        part, (raw,), tuple(blocks), always=bool(backbone.weights) and network.weights is None
    ), report


def _is_there(x):
    """Returns 1 for pictures and sounds, and 0 for missing (black or silent) ones, float32 `(b, 1)`."""
    size = ops.max(x, axis=(1, 2, 3)) if len(x.shape) == 4 else ops.max(ops.abs(x), axis=1)
    return ops.cast(size > 0, "float32")[:, None]


def _blocks(backbone: keras.Model, network: _Network) -> list[Block]:
    found = find_blocks(backbone, network.row.family)
    if found:
        return found
    everything = tuple(x for x in backbone.layers if not isinstance(x, layers.InputLayer))
    return [Block("backbone", everything, CutPoint("backbone", tuple(backbone.outputs)))]


def _renamed(block: Block, part: str, copies: RenamedCopies) -> Block:
    own = tuple(copies(layer) for layer in block.layers if not isinstance(layer, layers.InputLayer))
    return Block(f"{part}_{block.name}", own, CutPoint(f"{part}_{block.cut.name}", block.cut.tensors))


def _one_report(reports: dict[str, WeightReport]) -> WeightReport:
    sources = [report.source for report in reports.values()]
    of = lambda field: tuple(f"{p}_{x}" for p, r in reports.items() for x in getattr(r, field))  # noqa: E731
    source = None if sources == [None] * len(sources) else ", ".join(str(name) for name in sources)
    return WeightReport(source, of("matched"), of("unmatched"), of("unused"))


def build_join(config: JoinConfig, widths: tuple[int, ...]) -> keras.Model:
    """Returns the join as a model from the features of all parts, side by side, to one vector.

    Args:
        config: Config of the join.
        widths: Widths of the features of the parts.

    Returns:
        A model from `(b, sum(widths))` to `(b, d)`.
    """
    inputs = keras.Input((sum(widths),), name="join_inputs")
    if config.name == "concat" and not config.dropout:
        return keras.Model(inputs, layers.Identity(name="join")(inputs), name="join")
    ends = [sum(widths[: i + 1]) for i in range(len(widths))]
    parts = [inputs[:, end - width : end] for width, end in zip(widths, ends, strict=True)]
    if config.dropout:
        # one draw for all features of a part of a row
        drop = [layers.Dropout(config.dropout, (None, 1), name=f"join_drop_{i}") for i in range(len(parts))]
        parts = [layer(part) for layer, part in zip(drop, parts, strict=True)]
    return keras.Model(inputs, _JOINS[config.name](config, parts), name="join")


def behind_join(join: keras.Model, config: NeckConfig) -> keras.Model:
    """Returns a neck whose first layers are a join."""
    inputs = keras.Input(join.inputs[0].shape[1:], dtype=join.inputs[0].dtype, name="neck_inputs")
    x = replay(join, inputs)
    return keras.Model(inputs, replay(build_neck(config, x), x), name="neck")


def _concat(config, parts):
    return layers.Concatenate(name="join")(parts)


def _gated(config, parts):
    """Returns the sum of gate x tanh(dense) over the parts. The gates of a row add up to one."""
    dense = [layers.Dense(config.units, activation="tanh", name=f"join_dense_{i}") for i in range(len(parts))]
    hidden = [layer(part) for layer, part in zip(dense, parts, strict=True)]
    beside = layers.Concatenate(name="join_beside")(parts)
    gates = layers.Dense(config.units * len(parts), name="join_gates")(beside)
    gates = layers.Reshape((len(parts), config.units), name="join_gates_by_part")(gates)
    gates = layers.Softmax(axis=1, name="join_gates_softmax")(gates)
    weighted = [
        layers.Multiply(name=f"join_weighted_{i}")([gates[:, i], part]) for i, part in enumerate(hidden)
    ]
    return layers.Add(name="join")(weighted)


def _low_rank(config, parts):
    """Returns a dense layer of the product of the parts' projections.

    The biases begin at one, so that the product of a part with a missing one is the part.
    """
    dense = [
        layers.Dense(config.rank, bias_initializer="ones", name=f"join_dense_{i}") for i in range(len(parts))
    ]
    product = layers.Multiply(name="join_product")([d(part) for d, part in zip(dense, parts, strict=True)])
    return layers.Dense(config.units, name="join")(product)


_JOINS = {"concat": _concat, "gated": _gated, "low_rank": _low_rank}

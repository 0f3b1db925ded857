"""Task nesting: a complete earlier model with its head as a part of another model."""

import keras
from keras import layers

from tlkeras.config import NeckConfig, NestedConfig
from tlkeras.errors import UserError
from tlkeras.models.adapter import moved
from tlkeras.models.cuts.cut_points import Block, CutPoint
from tlkeras.models.cuts.graph import RenamedCopies, functional, has_graph, replay, replayed_tensors
from tlkeras.models.neck import pool
from tlkeras.models.weights.saved_models import open_source

NESTED = "nested"
_FIELD = "model.nested.source"


def nest(
    config: NestedConfig,
    neck: NeckConfig,
    preprocess: keras.Model,
    backbone: keras.Model,
    blocks: list[Block],
    prefix: int = 0,
) -> tuple[keras.Model, list[Block]]:
    """Returns a backbone that contains the nested model, and its blocks, of which the first is `nested`.

    It takes raw inputs like the nested model, and therefore contains the preprocessing. It also contains the
    pooling, because only vectors can be concatenated with the outputs of the nested model.

    Args:
        config: Config of the nested model.
        neck: Config of the neck, whose pooling is used.
        preprocess: Model from raw inputs to the inputs of the backbone.
        backbone: Backbone, which is left out with `join="alone"`.
        blocks: Blocks of the backbone.
        prefix: Number of tokens of the backbone before those of the patches.

    Raises:
        UserError: The nested model cannot be opened, or does not take these inputs.
    """
    source = open_source(config.source, _FIELD)
    _check(source, preprocess.input_shape[1:], config)
    inputs = keras.Input(preprocess.input_shape[1:], dtype="float32", name="backbone_inputs")
    copies = RenamedCopies(f"{NESTED}_")
    outputs = replay(source, inputs, copies)
    if config.pretrained:
        copies.take_weights()
    if config.activation != "linear":
        outputs = layers.Activation(config.activation, dtype="float32", name="nested_probabilities")(outputs)
    trains = "never" if config.frozen else "by_stage"
    if config.join == "alone":
        block = Block(NESTED, copies.layers, CutPoint(NESTED, (outputs,)), trains)
        return keras.Model(inputs, outputs, name=NESTED), [block]
    first = Block(NESTED, copies.layers, CutPoint(NESTED, (inputs, outputs)), trains)
    # under another name, because the layers before the backbone have the same name
    prepared = replay(preprocess, inputs, RenamedCopies("backbone_"))
    known = replayed_tensors(backbone, prepared)
    features = pool(known[id(backbone.outputs[0])], neck.pooling, prefix=prefix)
    joined = layers.Concatenate(name="beside_nested")([features, outputs])
    own = moved(blocks, known, beside=(outputs,))
    return keras.Model(inputs, joined, name=backbone.name), [first, *own]


def _check(source: keras.Model, input_shape: tuple, config: NestedConfig) -> None:
    """Raises `UserError` if a model cannot be nested in a model with these inputs."""
    if not has_graph(source):
        raise UserError(
            "A nested model must be functional or Sequential, with one input and one output. "
            f"Received: {_FIELD}={config.source!r}, a {type(source).__name__}"
        )
    expected = tuple(functional(source).inputs[0].shape[1:])
    fits = len(expected) == len(input_shape) and all(
        a in (None, b) for a, b in zip(expected, input_shape, strict=True)
    )
    if not fits:
        hint = f": set data.image_size={list(expected[:2])}" if len(expected) == len(input_shape) == 3 else ""
        raise UserError(
            f"The nested model takes inputs of {expected}, but the data have {tuple(input_shape)}{hint}. "
            f"Received: {_FIELD}={config.source!r}"
        )
    outputs = functional(source).outputs[0].shape[1:]
    if len(outputs) != 1:
        raise UserError(
            "A nested model must return one vector per example, logits or probabilities. Received: "
            f"{_FIELD}={config.source!r}, outputs of {tuple(outputs)}"
        )

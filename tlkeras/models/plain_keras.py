"""Blocks, freezing, learning rates by depth, and features for a plain `keras.Model` that Keras' `fit`
trains.
"""

from typing import Any

import keras
import numpy as np

from tlkeras.backend.stage_optimizer import stage_optimizer_class
from tlkeras.errors import UserError, unknown
from tlkeras.models.backbones.registry import BACKBONES, Family
from tlkeras.models.cuts import cut_points, freezing
from tlkeras.models.cuts.graph import functional, inputs_of, is_graph, leaf_layers, output_of

_BY_WEIGHTS = Family(block_names=())


def find_blocks(model: keras.Model, backbone: str | None = None) -> dict[str, tuple[keras.layers.Layer, ...]]:
    """Returns the blocks of a functional model from its input to its output, with the layers of each block.

    A block ends where the whole graph passes through one tensor. Therefore a residual unit is one block.

    Args:
        model: Functional model with one output. Layers after the last block of a backbone, such as a
            classifier, are also blocks.
        backbone: Registered name of the backbone, if its blocks should have the names that tlkeras uses. None
            names each block after its first layer with weights.

    Returns:
        Layers of each block by its name, in the order of the graph. Empty if no layer has weights.

    Raises:
        UserError: The model has no graph or several outputs, or there is no backbone of this name.
    """
    return {block.name: block.layers for block in _blocks(model, backbone)}


def freeze(model: keras.Model, train: str, *, bn: str = "frozen", backbone: str | None = None) -> keras.Model:
    """Makes only a part of a functional model trainable, and returns the model.

    Compile the model afterwards, because Keras decides in `compile` which variables are trained.

    Args:
        model: Functional model with one output.
        train: Trained part: `last:N` blocks, `from:BLOCK`, `all`, or `regex:PATTERN` of layer names. The last
            block of a whole model is its classifier.
        bn: BatchNormalization in the trained part: `frozen` (statistics, gamma and beta do not change) or
            `train`.
        backbone: See `find_blocks`.

    Returns:
        The given model.

    Raises:
        UserError: The model has no graph or several outputs, no such block or layer, or too few blocks; or
            `bn` has another value.

    Example:
        >>> model = freeze(keras.applications.ResNet50(), "last:3", backbone="resnet50")
    """
    if bn not in ("frozen", "train"):
        raise unknown("value of bn", bn, ("frozen", "train"))
    opened = freezing.opened_layers(_blocks(model, backbone), train, model.name)
    kept = {id(leaf) for _, layer in opened for leaf in leaf_layers([layer])}
    model.trainable = True
    for layer in leaf_layers([model]):
        if len(leaf_layers([layer])) > 1:  # a container, which would freeze what is inside
            continue
        normalises = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = id(layer) in kept and not (normalises and bn == "frozen")
    return model


def layer_decay(
    optimizer: keras.optimizers.Optimizer, model: keras.Model, factor: float, *, backbone: str | None = None
) -> keras.optimizers.Optimizer:
    """Returns an optimizer with a smaller learning rate for earlier blocks: `factor ** depth` times its rate.

    The last block has depth 0, the one before it depth 1, and so on (Clark et al. 2020, appendix A).

    Args:
        optimizer: Keras optimizer that has not been used yet.
        model: Functional model with one output.
        factor: Factor in (0, 1] between the rates of neighbouring blocks, often .65 to .9.
        backbone: See `find_blocks`.

    Returns:
        New optimizer of the same class and settings. The learning rate of a variable is that of the given
        optimizer, or of its schedule, times the factor of its block.

    Raises:
        UserError: The factor lies outside (0, 1], or the model has no graph or several outputs.

    Example:
        >>> optimizer = layer_decay(keras.optimizers.AdamW(1e-3), model, 0.75)
    """
    if not 0 < factor <= 1:
        raise UserError(f"The factor of layer_decay must be in (0, 1]. Received: {factor}")
    blocks = _blocks(model, backbone)
    multipliers = {
        variable.path: factor**depth
        for depth, block in enumerate(reversed(blocks))
        for layer in block.layers
        for variable in layer.variables
    }
    config = optimizer.get_config() | {"multipliers": multipliers}
    return stage_optimizer_class(type(optimizer)).from_config(config)


def extract_features(
    model: keras.Model, data: Any, *, layer: str | None = None, batch_size: int = 32
) -> np.ndarray:
    """Returns the outputs of a layer for each row, in inference mode.

    Args:
        model: Functional model, with one output if `layer` is None.
        data: Data that `keras.Model.predict` takes: inputs `(n, ...)` as the model takes them, or a finite
            `tf.data.Dataset` of batches.
        layer: Name of the layer. None uses the input of the last block, which is the input of a classifier.
        batch_size: Number of rows per step, for arrays.

    Returns:
        Features `(n, ...)` in the dtype of the layer.

    Raises:
        UserError: The model has no graph, there is no such layer, or `layer` is None and there are several
            outputs.

    Example:
        >>> features = extract_features(keras.applications.ResNet50(), x, layer="avg_pool")
    """
    _require_graph(model)
    if layer is None:
        blocks = _blocks(model, None)
        output = blocks[-2].cut.tensors[0] if len(blocks) > 1 else model.outputs[0]
    elif layer not in [own.name for own in model.layers]:
        raise unknown("layer", layer, [own.name for own in model.layers])
    else:
        output = output_of(model, layer)
    features = keras.Model(inputs_of(model), output)
    return features.predict(data, batch_size=None if hasattr(data, "element_spec") else batch_size, verbose=0)


def _blocks(model: keras.Model, backbone: str | None) -> list[cut_points.Block]:
    _require_graph(model)
    if len(functional(model).outputs) != 1:
        raise UserError(
            "Blocks lead to one output: use keras.Model(inputs, one_of_the_outputs), which has the same "
            f"layers. Received: {model.name} with {len(functional(model).outputs)} outputs"
        )
    family = _BY_WEIGHTS if backbone is None else BACKBONES.get(backbone).family
    return cut_points.find_blocks(model, family)


def _require_graph(model: keras.Model) -> None:
    """Raises `UserError` for a subclassed model, which runs any Python code instead of a graph."""
    if not is_graph(model):
        raise UserError(
            "Blocks and layers are found in the graph of a functional Keras model: build it with keras.Input "
            f"and keras.Model(inputs, outputs). Received: {getattr(model, 'name', repr(model))} of class "
            f"{type(model).__name__}"
        )

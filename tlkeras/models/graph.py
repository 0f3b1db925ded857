"""Reading and replaying the graph of a functional model."""

from collections.abc import Iterable

import keras


def nodes_in_order(model: keras.Model) -> list:
    """Returns the nodes of a functional `model` so that each comes after those it reads from.

    Keras has no public access to its graph; this is the only place that looks into it.
    """
    return [
        node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]
    ]


def output_of(model: keras.Model, layer_name: str):
    """Returns the tensor that the layer called `layer_name` puts out within `model`.

    `layer.output` is no substitute: a layer that stands in several models knows only its first output.
    """
    for node in nodes_in_order(model):
        if node.operation.name == layer_name:
            return node.output_tensors[0]
    raise ValueError(f"No such layer in the model. Received: layer_name={layer_name!r}")


def replay(model: keras.Model, x, instead=lambda operation: operation):
    """Calls the layers of a functional `model` one by one on `x`, without nesting the model.

    Args:
        model: A functional model with one input and one output.
        x: A symbolic tensor of the shape of the model's input.
        instead: Returns what is called in the place of an operation.

    Returns:
        The symbolic output; its graph holds the layers of `model` and shares their variables.
    """
    (source,) = model.inputs
    (target,) = model.outputs
    known = {id(source): x}
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        args, kwargs = node.arguments.fill_in(known)
        outputs = keras.tree.flatten(instead(node.operation)(*args, **kwargs))
        known.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
    return known[id(target)]


def leaf_layers(layers: Iterable[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Returns all layers, the nested ones of composite layers and models included."""
    return [leaf for layer in layers for leaf in layer._flatten_layers()]

"""Functions to read and to replay the graph of a functional model."""

from collections.abc import Iterable

import keras

from tlkeras.backend import compat


def nodes_in_order(model: keras.Model) -> list:
    """Returns the nodes of a functional or Sequential `model`, each after those it reads from."""
    return compat.graph_nodes(functional(model))


def functional(model: keras.Model) -> keras.Model:
    """Returns a functional model unchanged, and for a Sequential model the functional model inside."""
    return compat.functional_inside(model) if isinstance(model, keras.Sequential) else model


def has_graph(model: keras.Model) -> bool:
    """Whether a model is functional or Sequential, with one input and one output."""
    return is_graph(model) and len(functional(model).inputs) == len(functional(model).outputs) == 1


def is_graph(model: keras.Model) -> bool:
    """Whether a model is functional or Sequential, and built."""
    model = functional(model)
    return compat.is_graph(model) and model.built


def inputs_of(model: keras.Model) -> list | dict:
    """Returns the input tensors for another model with the same inputs: `[tensor]`, or tensors by name."""
    inputs = functional(model).inputs
    return inputs if len(inputs) == 1 else {tensor.name: tensor for tensor in inputs}


def new_inputs(model: keras.Model):
    """Returns new symbolic inputs like those of a functional `model`: a tensor, or tensors by name."""
    found = {x.name: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name) for x in functional(model).inputs}
    return found if len(found) > 1 else next(iter(found.values()))


def known_inputs(model: keras.Model, x) -> dict:
    """Returns values by the id of the input of `model` that they replace.

    Args:
        model: Functional model.
        x: Tensor, or a dict by the names of the inputs.
    """
    inputs = functional(model).inputs
    return {id(tensor): x[tensor.name] if isinstance(x, dict) else x for tensor in inputs}


def has_layer(model: keras.Model, layer_name: str) -> bool:
    """Whether the graph of `model` has a layer `layer_name`, for which `output_of` returns a tensor."""
    return any(node.operation.name == layer_name for node in nodes_in_order(model))


def output_of(model: keras.Model, layer_name: str):
    """Returns the output tensor of the layer `layer_name` in `model`.

    `layer.output` cannot be used, because a layer that belongs to several models has only its first output
    there.
    """
    for node in nodes_in_order(model):
        if node.operation.name == layer_name:
            return node.output_tensors[0]
    raise ValueError(f"The model has no such layer. Received: layer_name={layer_name!r}")


def input_of(model: keras.Model, layer_name: str):
    """Returns the tensor that the layer `layer_name` takes in `model`, or None if there is no such layer."""
    named = (node for node in nodes_in_order(model) if node.operation.name == layer_name)
    return next((node.input_tensors[0] for node in named), None)


def replay(model: keras.Model, x, instead=lambda operation: operation):
    """Calls the layers of a functional `model` one by one on `x`, without nesting the model.

    Args:
        model: Functional model.
        x: Symbolic tensor with the shape of the model's input, or a dict by the names of its inputs.
        instead: Function that returns the replacement of an operation.

    Returns:
        The symbolic output, or a dict of outputs if the model has one. Its graph contains the layers of
        `model` with their variables.
    """
    known, output = replayed_tensors(model, x, instead), functional(model).output
    if isinstance(output, dict):
        return {name: known[id(tensor)] for name, tensor in output.items()}
    (tensor,) = functional(model).outputs
    return known[id(tensor)]


def replayed_tensors(model: keras.Model, x, instead=lambda operation: operation) -> dict:
    """Replays a model like `replay`. Returns the new tensors by the ids of the tensors of `model`.

    Args:
        model: Functional model.
        x: Symbolic inputs of the new graph.
        instead: Function that returns the operation to use in place of an operation of the model.
    """
    known = known_inputs(model, x)
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        args, kwargs = node.arguments.fill_in(known)
        outputs = keras.tree.flatten(instead(node.operation)(*args, **kwargs))
        known.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
    return known


def leaf_layers(layers: Iterable[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Returns all layers, including those inside composite layers and models."""
    return [leaf for layer in layers for leaf in compat.flat_layers(layer)]


class RenamedCopies:
    """Copies of operations with a prefix in their names, for the argument `instead` of `replay`.

    With them, two networks of the same kind can be in one flat model. Nested models are flattened.

    Args:
        prefix: Prefix of each name.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._copies: dict[int, tuple] = {}

    def __call__(self, operation):
        """Returns the copy of an operation. The same operation always has the same copy."""
        if isinstance(operation, keras.Model) and has_graph(operation):
            return lambda x, **_: replay(operation, x, self)
        if id(operation) not in self._copies:
            config = operation.get_config() | {"name": self._prefix + operation.name}
            self._copies[id(operation)] = (operation, type(operation).from_config(config))
        return self._copies[id(operation)][1]

    @property
    def layers(self) -> tuple[keras.layers.Layer, ...]:
        """Copies that are layers, in the order of their creation."""
        return tuple(copy for _, copy in self._copies.values() if isinstance(copy, keras.layers.Layer))

    def take_weights(self) -> None:
        """Copies the weights of each original to its copy."""
        for original, copy in self._copies.values():
            if isinstance(copy, keras.layers.Layer) and copy.weights:
                set_weights(copy, original.get_weights())


def set_weights(layer: keras.layers.Layer, weights: list) -> None:
    """Sets the weights of a layer."""
    layer.set_weights(weights)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()  # the layer computes with copies of its variables

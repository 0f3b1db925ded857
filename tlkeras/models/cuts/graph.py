"""Reading and replaying the graph of a functional model."""

from collections.abc import Iterable

import keras

from tlkeras.backend import compat


def nodes_in_order(model: keras.Model) -> list:
    """Returns the nodes of a functional or Sequential `model`, each after those it reads from."""
    return compat.graph_nodes(functional(model))


def functional(model: keras.Model) -> keras.Model:
    """Returns a functional model as it is, and of a Sequential one the functional model inside."""
    return compat.functional_inside(model) if isinstance(model, keras.Sequential) else model


def has_graph(model: keras.Model) -> bool:
    """Whether a model is functional or Sequential, with one input and one output."""
    model = functional(model)
    return compat.is_graph(model) and model.built and len(model.inputs) == len(model.outputs) == 1


def inputs_of(model: keras.Model) -> list | dict:
    """Returns what another model of the same inputs is built on: `[tensor]`, or several tensors by name."""
    inputs = functional(model).inputs
    return inputs if len(inputs) == 1 else {tensor.name: tensor for tensor in inputs}


def new_inputs(model: keras.Model):
    """Returns symbolic inputs like those of a functional `model`: a tensor, or several by name."""
    found = {x.name: keras.Input(x.shape[1:], dtype=x.dtype, name=x.name) for x in functional(model).inputs}
    return found if len(found) > 1 else next(iter(found.values()))


def known_inputs(model: keras.Model, x) -> dict:
    """Returns values by the id of the input of `model` whose place they take.

    Args:
        model: A functional model.
        x: A tensor, or a dict by the names of the inputs.
    """
    inputs = functional(model).inputs
    return {id(tensor): x[tensor.name] if isinstance(x, dict) else x for tensor in inputs}


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
        model: A functional model.
        x: A symbolic tensor of the shape of the model's input, or a dict by the names of its inputs.
        instead: Returns what is called in the place of an operation.

    Returns:
        The symbolic output; its graph holds the layers of `model` and shares their variables. Several outputs
        are a dict by the names of the inputs: only preprocessing has them.
    """
    known = replayed_tensors(model, x, instead)
    outputs = [known[id(target)] for target in functional(model).outputs]
    return outputs[0] if len(outputs) == 1 else dict(zip(inputs_of(model), outputs, strict=True))


def replayed_tensors(model: keras.Model, x, instead=lambda operation: operation) -> dict:
    """As `replay`; returns by the id of each tensor of `model` the one that takes its place."""
    known = known_inputs(model, x)
    for node in nodes_in_order(model):
        if node.is_input:
            continue
        args, kwargs = node.arguments.fill_in(known)
        outputs = keras.tree.flatten(instead(node.operation)(*args, **kwargs))
        known.update((id(old), new) for old, new in zip(node.output_tensors, outputs, strict=True))
    return known


def leaf_layers(layers: Iterable[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Returns all layers, the nested ones of composite layers and models included."""
    return [leaf for layer in layers for leaf in compat.flat_layers(layer)]


class RenamedCopies:
    """Copies of operations under names with a prefix, to be called in their place by `replay`.

    So two networks of the same kind can stand in one flat model. Nested models are taken apart.

    Args:
        prefix: Stands before each name.
    """

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._copies: dict[int, tuple] = {}

    def __call__(self, operation):
        """Returns what to call instead of an operation; always the same for the same one."""
        if isinstance(operation, keras.Model) and has_graph(operation):
            return lambda x, **_: replay(operation, x, self)
        if id(operation) not in self._copies:
            config = operation.get_config() | {"name": self._prefix + operation.name}
            self._copies[id(operation)] = (operation, type(operation).from_config(config))
        return self._copies[id(operation)][1]

    @property
    def layers(self) -> tuple[keras.layers.Layer, ...]:
        """The copies that are layers, in the order in which they were made."""
        return tuple(copy for _, copy in self._copies.values() if isinstance(copy, keras.layers.Layer))

    def take_weights(self) -> None:
        """Gives each copy the weights of its original."""
        for original, copy in self._copies.values():
            if isinstance(copy, keras.layers.Layer) and copy.weights:
                set_weights(copy, original.get_weights())


def set_weights(layer: keras.layers.Layer, weights: list) -> None:
    """Gives a layer other weights."""
    layer.set_weights(weights)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()  # it computes with copies of its variables

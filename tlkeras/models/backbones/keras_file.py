"""Functional Keras models of the user as backbones: models from a file, and models passed from Python."""

from __future__ import annotations

from pathlib import Path

from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.models.backbones.parts import keras
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family

graph, saved_models = (
    LateModule("tlkeras.models.cuts.graph"),
    LateModule("tlkeras.models.weights.saved_models"),
)


def keras_file(input_shape: tuple[int, ...], file: str = "") -> keras.Model:
    """Returns the model of a `.keras` file with new random weights.

    To use the weights of the file, set `model.weights` to the same file. The model takes raw inputs (pixels
    in 0..255) and returns features: a map `(height, width, channels)`, or a vector.

    Args:
        input_shape: Shape of one input.
        file: Path of the file.

    Raises:
        UserError: The model has no graph with one input and one output, or takes another shape.
    """
    if not file:
        raise UserError("keras_file needs the path of a model: set model.backbone_options.file=FILE.keras")
    model = saved_models.read_model(Path(file).expanduser())
    require_graph(model)
    if not _fits(input_shape, model.input_shape[1:]):
        raise UserError(
            f"The backbone {model.name} takes inputs of shape {model.input_shape[1:]}. "
            f"Received: data of shape {tuple(input_shape)}"
        )
    inputs = keras.Input(input_shape, name="backbone_inputs")
    return keras.models.clone_model(model, input_tensors=inputs)


def use_passed(model: keras.Model, file: str) -> None:
    """Registers a model that was passed from Python as the content of the file in which its run will keep it.

    Args:
        model: Functional Keras model.
        file: Path of the file.

    Raises:
        UserError: See `require_graph`.
    """
    require_graph(model)
    saved_models.PASSED[file] = model


def require_graph(model: keras.Model) -> None:
    """Raises `UserError` unless the model is a built functional model with one input and one output.

    A subclassed model runs any Python code, so its blocks cannot be found, frozen or saved without that code.
    """
    if not isinstance(model, keras.Model):
        raise UserError(f"backbone must be a functional Keras model. Received: {type(model).__name__}")
    if not graph.has_graph(model):
        raise UserError(
            "A backbone must be a functional Keras model with one input and one output: build it with "
            "keras.Input and keras.Model(inputs, outputs). A subclassed model has no graph in which blocks "
            f"could be found. Received: {model.name} of class {type(model).__name__}"
        )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(b in (None, a) for a, b in zip(shape, wanted, strict=True))


BACKBONES.add(
    "keras_file",
    # nothing is known about the network, so its rate is between those of the families
    Backbone("keras_file", keras_file, Family(block_names=(), min_size=1, rate=1e-4), input="any"),
)

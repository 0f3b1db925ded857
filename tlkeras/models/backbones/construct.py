"""Construction of a backbone by its builder."""

import inspect
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities import MODALITIES
from tlkeras.errors import UserError, nearest
from tlkeras.models.backbones.registry import Backbone

_OURS = {"input_shape", "include_top", "weights", "input_tensor", "pooling", "classes", "name",
         "classifier_activation"}  # fmt: skip


def construct(
    row: Backbone,
    input_shape: Shape,
    options: Mapping[str, Any],
    weights: str | None = None,
) -> keras.Model:
    """Returns the backbone without its top as a functional model.

    Args:
        row: Row of the backbone.
        input_shape: Shape of one input, or a dict of shapes.
        options: Extra keyword arguments of the builder.
        weights: Weights for keras.applications: `imagenet` or None.

    Raises:
        UserError: The input does not fit the backbone, or an option is unknown.
    """
    _check_input(row, input_shape)
    builder = row.function
    _check_options(row, builder, options)
    arguments: dict[str, Any] = {"input_shape": input_shape, **options}
    if row.is_application:
        arguments |= {"include_top": False, "weights": weights}
    with warnings.catch_warnings():
        # MobileNets warn if there are no weights for an image size; the README says which ones they use.
        warnings.simplefilter("ignore", UserWarning)
        try:
            model = builder(**arguments)
        except (ValueError, TypeError) as error:
            raise UserError(f"{row.name}: {str(error).splitlines()[0]}") from error
    _check_inputs(row, model, input_shape)
    _keep_pixels_in_float32(model)
    return model


def _check_input(row: Backbone, shape: Shape) -> None:
    kinds = [MODALITIES.get(name) for name in row.modalities]
    kind = next((kind for kind in kinds if kind.fits(shape)), None)
    if kind is None:
        raise UserError(
            f"{row.name} takes {' or '.join(kind.plural for kind in kinds)}. Received: input shape {shape}"
        )
    size = kind.image_size(shape)
    if size is not None and min(size) < row.family.min_size:
        raise UserError(
            f"{row.name} needs images of at least {row.family.min_size} pixels a side. "
            f"Received: image_size={list(shape[:2])}"
        )


def _check_inputs(row: Backbone, model: keras.Model, shape: Shape) -> None:
    """Raises `UserError` if the names of a model's inputs are not those of the data."""
    names = {tensor.name for tensor in model.inputs}
    if isinstance(shape, dict) and names != set(shape):
        raise UserError(
            f"{row.name} must be a model of a dict of inputs with the names {', '.join(shape)}. "
            f"Received: inputs called {', '.join(sorted(names))}"
        )


def _check_options(row: Backbone, builder, options: Mapping[str, Any]) -> None:
    allowed = set(inspect.signature(builder).parameters) - _OURS
    for option in options:
        if option not in allowed:
            raise UserError(
                f"{row.name} has no option {option!r}.{nearest(option, allowed)} Allowed: "
                f"{', '.join(sorted(allowed)) or 'none'}. Received: backbone_options={dict(options)}"
            )


def _keep_pixels_in_float32(model: keras.Model) -> None:
    # With a mixed policy, families that scale pixels themselves would do so in half precision.
    for layer in model.layers:
        if isinstance(layer, keras.layers.Rescaling | keras.layers.Normalization):
            layer.dtype_policy = keras.DTypePolicy("float32")

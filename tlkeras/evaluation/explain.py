"""Explanations of predictions by pixels: Grad-CAM, integrated gradients and occlusion.

Each function takes a model from raw inputs to logits, such as `best.keras`, and images with pixels in 0..255.
The target is the class whose logit is explained. By default it is the predicted class.
"""

import itertools
import re

import keras
import numpy as np
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.gradients import recording
from tlkeras.backend.tracing import traced
from tlkeras.errors import UserError
from tlkeras.models.backbones.registry import BACKBONES
from tlkeras.models.cuts.graph import nodes_in_order, replay

_BATCH = 16
_TOKENS = re.compile(r"block_\d+_norm_1")  # what a block of a vision transformer attends to


def grad_cam(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    layer: str | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Returns Grad-CAM maps (Selvaraju et al. 2017, section 3).

    The feature maps of a layer are weighted by the mean of their gradients and summed. Negative values are
    set to zero, and the map is resized to the image and divided by its maximum. The layer may belong to a
    backbone that is nested as one layer of `model`. The maps of a vision transformer are the tokens of its
    patches that the last block attends to.

    Args:
        model: Functional model from raw images to logits.
        images: Images `(n, height, width, 3)` in 0..255.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        layer: Name of the layer whose outputs are weighted, or None for the last one with spatial outputs.
        size: Height and width of the maps, or None for those of the images.

    Returns:
        Maps float32 `(n, height, width)` in 0..1. A map is zero if no region supports the target.

    Raises:
        UserError: The model has no such layer, or none with spatial outputs.
    """
    both, grid = _with_maps(model, layer)

    @_compiled_for(model)
    def explain(batch, chosen):
        with recording(batch) as tape:  # so that the tape records layers that are not trainable
            maps, logits = both(batch, training=False)
            score = ops.sum(scores(logits, chosen))
        gradients = ops.cast(tape.gradient(score, maps), "float32")
        maps, gradients = _on_grid(maps, grid), _on_grid(gradients, grid)
        weights = ops.mean(gradients, axis=(1, 2), keepdims=True)
        heat = ops.relu(ops.sum(weights * ops.cast(maps, "float32"), axis=-1, keepdims=True))
        return ops.image.resize(heat, size or batch.shape[1:3])[..., 0]

    return normalised(in_batches(explain, model, images, targets))


def integrated_gradients(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    baseline: np.ndarray | float = 0.0,
    steps: int = 32,
) -> np.ndarray:
    """Returns integrated gradients (Sundararajan et al. 2017, equation 1), by the midpoint rule.

    Their sum over an image is the difference of the target's logit between the image and the baseline
    (completeness, section 3), up to the error of the midpoint rule.

    Args:
        model: Model from raw inputs to logits.
        images: Images `(n, height, width, 3)` or vectors `(n, d)`.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        baseline: Neutral input in the same units, float `(height, width, 3)` or `(d,)`, or one number for all
            values; by default black.
        steps: Number of points on the straight line from the baseline to the image.

    Returns:
        Attributions of either sign, float32 with the shape of `images`, in units of the logit. `heat_of`
        makes one map per image of them.
    """

    @_compiled_for(model)
    def gradient_at(point, chosen):
        with recording(point) as tape:
            score = ops.sum(scores(model(point, training=False), chosen))
        return tape.gradient(score, point)

    def explain(batch, chosen):
        path = batch - baseline
        points = (baseline + path * ((step + 0.5) / steps) for step in range(steps))
        return path * sum(gradient_at(point, chosen) for point in points) / steps

    return in_batches(explain, model, images, targets)


def occlusion(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    patch: int | None = None,
    stride: int | None = None,
    fill: float = 127.0,
) -> np.ndarray:
    """Returns the loss of the target's probability if a patch covers a part of the image.

    See Zeiler and Fergus (2014, section 4.2). Each pixel gets the mean over the patches that cover it.

    Args:
        model: Model from raw images to logits.
        images: Images `(n, height, width, 3)` in 0..255.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        patch: Side of the patch in pixels, or None for a quarter of the shorter side of the image.
        stride: Distance of two patches in pixels, or None for half a patch.
        fill: Value of the covered pixels, in 0..255.

    Returns:
        Maps float32 `(n, height, width)` in -1..1. For a single logit or a regression they are in units of
        the output.
    """
    height, width = images.shape[1:3]
    side = patch or max(min(height, width) // 4, 1)
    step = stride or max(side // 2, 1)
    corners = list(itertools.product(_places(height, side, step), _places(width, side, step)))

    def explain(batch, chosen):
        before = _probability(model(batch, training=False), chosen)
        lost, covered = np.zeros(batch.shape[:3], np.float32), np.zeros((height, width), np.float32)
        for top, left in corners:
            mask = np.zeros((height, width, 1), np.float32)
            mask[top : top + side, left : left + side] = 1
            after = _probability(model(batch * (1 - mask) + fill * mask, training=False), chosen)
            lost += (before - after)[:, None, None] * mask[..., 0]
            covered += mask[..., 0]
        return lost / covered

    return in_batches(explain, model, images, targets)


def heat_of(attributions: np.ndarray) -> np.ndarray:
    """Returns one map per image: the sum of the absolute attributions of a pixel over its channels.

    Args:
        attributions: Signed attributions of each pixel and channel, float `(n, h, w, c)`.

    Returns:
        Maps float32 `(n, h, w)` in 0..1, each divided by its maximum.
    """
    return normalised(np.abs(attributions).sum(axis=-1))


def explain_images(
    model: keras.Model, images: np.ndarray, targets: np.ndarray | None = None, backbone: str | None = None
) -> tuple[np.ndarray, str]:
    """Explains predictions by Grad-CAM, or by integrated gradients if no layer has spatial outputs.

    Args:
        model: Model from raw images to logits.
        images: Images `(n, height, width, 3)` in 0..255.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        backbone: Registered name of the backbone. Its row names the layer that Grad-CAM uses.

    Returns:
        `(maps, method)`: maps in 0..1, float32 `(n, height, width)`, and the name of the method.
    """
    layer = cam_layer(model, backbone)
    if layer is None:
        return heat_of(integrated_gradients(model, images, targets)), "integrated gradients"
    return grad_cam(model, images, targets, layer), "Grad-CAM"


def cam_layer(model: keras.Model, backbone: str | None = None) -> str | None:
    """Returns the layer that Grad-CAM uses, or None if there is none.

    It is the one in the row of the backbone, or else the last layer with spatial outputs, of more than one
    position. In a vision transformer it is the first norm of the last block: behind that block, a
    classifier that reads the class token depends on no patch.
    """
    spatial = list(_spatial_tensors(flattened(model)))
    named = BACKBONES.get(backbone).grad_cam if backbone is not None and backbone in BACKBONES else ""
    return named if named in spatial else (spatial[-1] if spatial else None)


def flattened(model: keras.Model) -> keras.Model:
    """Returns an equal functional model in which the layers of nested models are its own layers.

    A tensor inside a nested model belongs to another graph than the outer outputs, so that there is no
    gradient between them (tensorflow#44462).
    """
    if not any(_is_nested(layer) for layer in model.layers):
        return model
    (source,) = model.inputs
    return keras.Model(source, replay(model, source, inlined))


def inlined(operation):
    """Returns an operation, or for a nested model a function that calls its layers one by one."""
    return (lambda x, **_: replay(operation, x, inlined)) if _is_nested(operation) else operation


def _is_nested(layer) -> bool:
    return compat.is_graph(layer) and len(layer.inputs) == len(layer.outputs) == 1


def _is_spatial(node) -> bool:
    """Whether the output is a map of more than one position; small images end in maps of one."""
    tensors = node.output_tensors
    shape = tensors[0].shape if len(tensors) == 1 and not node.is_input else ()
    return len(shape) == 4 and shape[1:3] != (1, 1)


def _spatial_tensors(model) -> dict:
    """Returns the outputs that Grad-CAM can use, by the name of their layer, from input to output."""
    tokens = patch_grid(model) is not None
    return {
        node.operation.name: node.output_tensors[0]
        for node in nodes_in_order(model)
        if (_TOKENS.fullmatch(node.operation.name) if tokens else _is_spatial(node))
    }


def patch_grid(model) -> tuple[int, int] | None:
    """Returns the rows and columns of patches of a vision transformer; None for other networks."""
    rows = next((layer for layer in model.layers if layer.name == "stem_rows"), None)
    return None if rows is None else (rows.target_shape[0], rows.target_shape[2])


def _on_grid(tokens, grid: tuple[int, int] | None):
    """Returns the tokens of the patches, without those before them, as maps `(b, rows, columns, c)`."""
    if grid is None:
        return tokens
    return ops.reshape(tokens[:, -grid[0] * grid[1] :], (-1, *grid, tokens.shape[-1]))


def _with_maps(model, layer):
    """Returns the model from images to a layer's outputs and logits, and the grid of patches or None."""
    flat = flattened(model)
    layer = layer or cam_layer(flat)
    tensors = _spatial_tensors(flat)
    if layer not in tensors:
        raise UserError(
            "Grad-CAM needs a layer with outputs (height, width, channels). "
            f"Received: layer={layer!r}, spatial layers: {', '.join(list(tensors)[-5:]) or 'none'}"
        )
    return keras.Model(flat.inputs, [tensors[layer], flat.outputs[0]]), patch_grid(flat)


def _compiled_for(model):
    """Returns a decorator that traces a function if the model has grouped convolutions, else does nothing.

    Without a trace, Keras compiles each grouped convolution again at every call. For models without them, a
    trace takes longer than it saves.
    """
    grouped = any(getattr(layer, "groups", 1) not in (1, None) for layer in model.layers)
    return traced if grouped else lambda function: function


def scores(logits, targets):
    """Returns the explained outputs `(n,)`. If there is a single logit, its negative explains class 0."""
    logits = ops.cast(logits, "float32")
    if logits.shape[-1] == 1:
        return logits[:, 0] * ops.where(targets > 0, 1.0, -1.0)
    return _chosen(logits, targets)


def _chosen(values, targets):
    """Returns the value of each row's target `(n,)`."""
    return ops.take_along_axis(values, targets[:, None], axis=1)[:, 0]


def _answers(logits):
    return ops.cast(logits[:, 0] > 0, "int32") if logits.shape[-1] == 1 else ops.argmax(logits, axis=-1)


def _probability(logits, targets) -> np.ndarray:
    if logits.shape[-1] == 1:
        return ops.convert_to_numpy(scores(logits, targets))
    return ops.convert_to_numpy(_chosen(ops.softmax(ops.cast(logits, "float32")), targets))


def in_batches(explain, model, images, targets, size: int = _BATCH) -> np.ndarray:
    """Returns `explain(batch, targets of the batch)` for all images, `size` of them at a time."""
    found = []
    for begin in range(0, len(images), size):
        batch = ops.convert_to_tensor(images[begin : begin + size], "float32")
        if targets is None:
            chosen = _answers(model(batch, training=False))
        else:
            chosen = ops.convert_to_tensor(targets[begin : begin + size], "int32")
        found.append(np.asarray(explain(batch, chosen)))
    return np.concatenate(found) if found else np.zeros(images.shape[:3], np.float32)


def _places(side: int, patch: int, stride: int) -> list[int]:
    """Returns the first pixels of patches that cover all pixels of a side."""
    return sorted({*range(0, max(side - patch, 0) + 1, stride), max(side - patch, 0)})


def normalised(maps: np.ndarray) -> np.ndarray:
    """Divides each map by its maximum."""
    highest = maps.max(axis=(1, 2), keepdims=True)
    return (maps / np.where(highest > 0, highest, 1)).astype(np.float32)

"""Explanations of vision transformers by their attention: rollout, and attention weighted by gradients.

Both follow the tokens from block to block. In a product of attention matrices, entry `(i, j)` says how much
token `i` contains of token `j`. Grad-CAM looks at one layer only.
"""

import math

import keras
import numpy as np
from keras import ops

from tlkeras.backend.gradients import recording
from tlkeras.errors import UserError
from tlkeras.evaluation.explain import flattened, in_batches, normalised, patch_grid, scores
from tlkeras.models.cuts.graph import replay

_BATCH = 4  # the attention of all blocks and heads is kept at once


def attention_rollout(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Returns the attention rollout (Abnar and Zuidema 2020, "Quantifying Attention Flow", section 3).

    The attention of a block is the mean over its heads, averaged with the identity for the residual
    connection. The maps of all blocks are multiplied. They say what the tokens contain; they hardly depend
    on the class.

    Args:
        model: Functional model from raw images to logits whose backbone is a vision transformer.
        images: Images `(n, height, width, 3)` in 0..255.
        targets: Class numbers `(n,)`, or None for the predicted classes. They matter only if the classes read
            different tokens.
        size: Height and width of the maps, or None for those of the images.

    Returns:
        Maps float32 `(n, height, width)` in 0..1.

    Raises:
        UserError: The model is not a vision transformer whose tokens attend to all others.
    """

    def after_block(tokens, attention, _):
        mixed = 0.5 * (ops.mean(attention, axis=1) + ops.eye(attention.shape[-1]))
        return ops.matmul(mixed, tokens)

    return _maps(model, images, targets, size, after_block)


def attention_relevance(
    model: keras.Model,
    images: np.ndarray,
    targets: np.ndarray | None = None,
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Returns attention weighted by its gradients (Chefer et al. 2021, equations 5 and 6).

    The source is "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
    Transformers". Each head counts as far as a higher attention raises the logit of the target. Negative
    products are set to zero before the mean over heads, and each block adds to the maps of the earlier ones.

    Args:
        model: Functional model from raw images to logits whose backbone is a vision transformer.
        images: Images `(n, height, width, 3)` in 0..255.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        size: Height and width of the maps, or None for those of the images.

    Returns:
        Maps float32 `(n, height, width)` in 0..1.

    Raises:
        UserError: The model is not a vision transformer whose tokens attend to all others.
    """

    def after_block(tokens, attention, gradient):
        helpful = ops.mean(ops.relu(gradient * attention), axis=1)
        return tokens + ops.matmul(helpful, tokens)

    return _maps(model, images, targets, size, after_block)


def _maps(model, images, targets, size, after_block) -> np.ndarray:
    flat = flattened(model)
    grid = patch_grid(flat)
    if grid is None or not any(_attends(layer) for layer in flat.operations):
        raise UserError(
            "Attention maps need a vision transformer (vit, deit, dinov2, dinov3, clip, siglip). "
            f"Received: {model.name}, without attention between all patches; use grad_cam"
        )
    last = next(i for i, layer in enumerate(flat.operations) if layer.name == "norm")

    def explain(batch, chosen):
        blocks, final = [], []

        def recorded(operation):
            if _attends(operation):
                return _Attention(blocks)
            return _kept(operation, final) if operation is flat.operations[last] else operation

        with recording(batch) as tape:
            score = ops.sum(scores(replay(flat, batch, recorded), chosen))
        *gradients, read = tape.gradient(score, [*blocks, *final])
        tokens = ops.eye(read.shape[1])
        for attention, gradient in zip(blocks, gradients, strict=True):
            tokens = after_block(tokens, attention, gradient)
        # A classifier reads the class token, the mean of the patches, or both. Its gradient says which.
        share = ops.norm(ops.cast(read, "float32"), axis=-1)
        seen = ops.einsum("bt,btj->bj", share, tokens)[:, -grid[0] * grid[1] :]
        return ops.image.resize(ops.reshape(seen, (-1, *grid, 1)), size or batch.shape[1:3])[..., 0]

    return normalised(in_batches(explain, model, images, targets, _BATCH))


def _attends(operation) -> bool:
    return type(operation).__name__ == "DotProductAttention"


class _Attention:
    """Scaled dot-product attention that keeps its weights, float32 `(b, heads, t, t)`, in a list."""

    def __init__(self, kept: list):
        self._kept = kept

    def __call__(self, query, key, value, **_):
        logits = ops.einsum("btnh,bsnh->bnts", query, key) / math.sqrt(query.shape[-1])
        weights = ops.softmax(ops.cast(logits, "float32"), axis=-1)
        self._kept.append(weights)
        return ops.einsum("bnts,bsnh->btnh", ops.cast(weights, value.dtype), value)


def _kept(operation, kept: list):
    """Returns a function that calls an operation and keeps its output in a list."""

    def call(*args, **kwargs):
        kept.append(operation(*args, **kwargs))
        return kept[-1]

    return call

"""Explains predictions on texts: how much each token matters."""

from typing import Any

import keras
import numpy as np


def leave_out(
    model: keras.Model, x: dict[str, np.ndarray], targets: np.ndarray | None, backbone: str
) -> tuple[np.ndarray, str]:
    """Returns by how much the logit of a class falls if a token is left out.

    Source: Li et al. 2016, "Understanding Neural Networks through Representation Erasure", section 3.

    Args:
        model: Model from `ids` and `mask`, for pairs also `types`, to logits.
        x: These inputs, int32 `(n, length)`.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        backbone: Name of the backbone, which is not used.

    Returns:
        Weights, float32 `(n, length)` in 0..1, and the name of the method. A weight is 0 if the logit does
        not fall without the token.
    """
    x = {name: np.asarray(part) for name, part in x.items()}
    ids, mask = x["ids"], x["mask"]
    whole = answers(model, x)
    asked = whole.argmax(axis=-1) if targets is None else np.asarray(targets)
    asked = asked if whole.shape[-1] > 1 else np.zeros(len(ids), int)
    loss = np.zeros(ids.shape, np.float32)
    for row in range(len(ids)):
        places = np.flatnonzero(mask[row])
        without = np.repeat(mask[row : row + 1], len(places), axis=0)
        without[np.arange(len(places)), places] = 0
        repeated = {name: np.repeat(part[row : row + 1], len(places), axis=0) for name, part in x.items()}
        logits = answers(model, repeated | {"mask": without})
        loss[row, places] = np.maximum(whole[row, asked[row]] - logits[:, asked[row]], 0)
    # tokens come before padding, so the first weights belong to the tokens that are shown
    return loss / np.maximum(loss.max(axis=1, keepdims=True), 1e-6), "leaving out"


def answers(model: keras.Model, x: Any) -> np.ndarray:
    """Returns the outputs of a model, NumPy `(n, k)`, on the device of this process alone.

    `predict` of a model that several workers built waits for all of them, and only one explains.

    Args:
        model: Model from inputs to logits.
        x: Inputs `(n, ...)`, or a dict of them.
    """
    return keras.ops.convert_to_numpy(model(x, training=False))

"""Explains predictions on columns of a table: how much each value matters."""

import keras
import numpy as np

from tlkeras.evaluation.explain_texts import answers


def leave_out(
    model: keras.Model, x: np.ndarray, targets: np.ndarray | None, backbone: str
) -> tuple[np.ndarray, str]:
    """Returns by how much the logit of a class falls if a value is missing.

    Source: Li et al. 2016, "Understanding Neural Networks through Representation Erasure", section 3.

    Args:
        model: Model from columns to logits.
        x: Columns, float32 `(n, columns)`.
        targets: Class numbers `(n,)`, or None for the predicted classes.
        backbone: Name of the backbone, which is not used.

    Returns:
        Weights, float32 `(n, columns)` in 0..1, and the name of the method. A weight is 0 if the logit does
        not fall.
    """
    x = np.asarray(x)
    whole = answers(model, x)
    asked = whole.argmax(axis=-1) if targets is None else np.asarray(targets)
    asked = asked if whole.shape[-1] > 1 else np.zeros(len(x), int)
    rows, loss = np.arange(len(x)), np.zeros(x.shape, np.float32)
    for column in range(x.shape[1]):
        without = x.copy()
        without[:, column] = np.nan
        logits = answers(model, without)
        loss[:, column] = np.maximum(whole[rows, asked] - logits[rows, asked], 0)
    return loss / np.maximum(loss.max(axis=1, keepdims=True), 1e-6), "leaving out"

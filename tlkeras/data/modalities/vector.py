"""Vectors: rows of numbers."""

import numpy as np

from tlkeras.data.array_form import ArrayForm, vectors_like_training
from tlkeras.data.modalities.base import Modality
from tlkeras.errors import UserError

_ASSUMED_WIDTH = 100


class Vector(Modality):
    """Rows of numbers, float32 `(d,)`."""

    name = "vector"
    plural = "vectors"

    def assumed_shape(self, config, default_size=None):
        return (_ASSUMED_WIDTH,)

    def check_split(self, split, rows, train):
        if rows.inputs.shape[1:] != train.inputs.shape[1:]:
            raise UserError(
                f"Vectors must be equally long in all splits. Received: {train.inputs.shape[1]} in train, "
                f"{rows.inputs.shape[1]} in {split}"
            )

    def array_form(self, rows, white):
        return ArrayForm.of_vectors(rows.inputs)

    def inputs_like_training(self, x, form, shape) -> np.ndarray:
        return vectors_like_training(x, form, shape)

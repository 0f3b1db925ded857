"""Vectors: rows of numbers."""

import numpy as np

from tlkeras.data.array_form import ArrayForm, vectors_like_training
from tlkeras.data.modalities.base import Modality

_ASSUMED_WIDTH = 100


class Vector(Modality):
    """Rows of numbers, float32 `(d,)`."""

    name = "vector"
    plural = "vectors"

    def assumed_shape(self, config, default_size=None):
        return (_ASSUMED_WIDTH,)

    def fits(self, shape):
        return not isinstance(shape, dict) and len(shape) == 1

    def array_form(self, rows, white):
        return ArrayForm.of_vectors(rows.inputs)

    def inputs_like_training(self, x, form, shape) -> np.ndarray:
        return vectors_like_training(x, form, shape)

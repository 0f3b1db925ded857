"""The loss of SimCLR (Chen et al. 2020, "A simple framework for contrastive learning", section 2.1)."""

import keras
from keras import ops


class NTXent(keras.losses.Loss):
    """The normalised temperature-scaled cross-entropy of recognising the second view among the other rows.

    The loss of row i with its other view j is `-log(exp(s_ij / t) / sum over k != i of exp(s_ik / t))`, where
    s is the cosine of two projections. The negatives are the other rows of the call. If a batch is divided
    among replicas, they are the rows of the same replica. The task is harder with more negatives, so that
    losses of different batch sizes or numbers of replicas cannot be compared.

    Args:
        temperature: Temperature t, above 0.

    Call arguments:
        y_true: Integers `(2 b,)`. Rows with equal numbers are views of the same picture. Rows with a negative
            number are ignored.
        y_pred: Projections `(2 b, d)`.
    """

    def __init__(self, temperature: float = 0.5, name: str = "nt_xent", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = float(temperature)

    def call(self, y_true, y_pred):
        """Returns the loss of each row, float32 `(2 b,)`. It is 0 for a row without another view."""
        similarities, others, partner = _compared(y_true, y_pred)
        scaled = similarities / self.temperature
        total = ops.logsumexp(ops.where(others, scaled, -1e9), axis=1)
        loss = total - ops.sum(ops.where(partner, scaled, 0.0), axis=1)
        return ops.where(ops.any(partner, axis=1), loss, 0.0)

    def get_config(self):
        """Returns the arguments of the constructor."""
        return {**super().get_config(), "temperature": self.temperature}


def pair_found(y_true, y_pred):
    """Returns for each row 1.0 if the most similar other row is its second view, else 0.0, `(2 b,)`.

    Args:
        y_true: Numbers of the pictures `(2 b,)`; see `NTXent`.
        y_pred: Projections `(2 b, d)`.
    """
    similarities, others, partner = _compared(y_true, y_pred)
    best = ops.argmax(ops.where(others, similarities, -2.0), axis=1)
    hits = ops.take_along_axis(ops.cast(partner, "float32"), ops.expand_dims(best, 1), axis=1)
    return ops.squeeze(hits, axis=1)


def _compared(numbers, projections):
    """Returns cosines, a mask of the columns with which a row is compared, and a mask of its other view."""
    numbers = ops.cast(ops.reshape(numbers, (-1,)), "int32")
    directions = ops.normalize(ops.cast(projections, "float32"), axis=-1)
    similarities = ops.matmul(directions, ops.transpose(directions))
    place = ops.arange(ops.shape(directions)[0])
    real = numbers >= 0
    others = ops.logical_and(place[:, None] != place[None, :], real[None, :])
    same = numbers[:, None] == numbers[None, :]
    return similarities, others, ops.logical_and(others, same)

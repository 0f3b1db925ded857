"""The loss of SimCLR (Chen et al. 2020, "A simple framework for contrastive learning", section 2.1)."""

import keras
from keras import ops


class NTXent(keras.losses.Loss):
    """Normalised temperature-scaled cross-entropy: which of the other rows is the second view?

    For row i with its other view j, `-log(exp(s_ij / t) / sum over k != i of exp(s_ik / t))` with s the
    cosine of two projections. Negatives are the other rows of this call: of a batch that is divided among
    replicas, those of the same replica. More negatives make a harder task, so that losses of different
    batch sizes, or numbers of replicas, cannot be compared.

    Args:
        temperature: t, above 0.

    Call arguments:
        y_true: Whole numbers `(2 b,)`: rows of one number are views of one picture. A negative number marks
            a row that is neither counted nor compared with.
        y_pred: Projections `(2 b, d)`.
    """

    def __init__(self, temperature: float = 0.5, name: str = "nt_xent", **kwargs):
        super().__init__(name=name, **kwargs)
        self.temperature = float(temperature)

    def call(self, y_true, y_pred):
        """Returns the loss of each row, float32 `(2 b,)`; 0 where a row has no other view."""
        similarities, others, partner = _compared(y_true, y_pred)
        scaled = similarities / self.temperature
        total = ops.logsumexp(ops.where(others, scaled, -1e9), axis=1)
        loss = total - ops.sum(ops.where(partner, scaled, 0.0), axis=1)
        return ops.where(ops.any(partner, axis=1), loss, 0.0)

    def get_config(self):
        """Returns what `from_config` needs."""
        return {**super().get_config(), "temperature": self.temperature}


def pair_found(y_true, y_pred):
    """Returns per row 1.0 where the most similar other row is its second view, else 0.0, `(2 b,)`.

    Args:
        y_true: As `NTXent` takes it.
        y_pred: Projections `(2 b, d)`.
    """
    similarities, others, partner = _compared(y_true, y_pred)
    best = ops.argmax(ops.where(others, similarities, -2.0), axis=1)
    hits = ops.take_along_axis(ops.cast(partner, "float32"), ops.expand_dims(best, 1), axis=1)
    return ops.squeeze(hits, axis=1)


def _compared(numbers, projections):
    """Returns cosines, which columns a row is compared with, and which of those is its other view."""
    numbers = ops.cast(ops.reshape(numbers, (-1,)), "int32")
    directions = ops.normalize(ops.cast(projections, "float32"), axis=-1)
    similarities = ops.matmul(directions, ops.transpose(directions))
    place = ops.arange(ops.shape(directions)[0])
    real = numbers >= 0
    others = ops.logical_and(place[:, None] != place[None, :], real[None, :])
    same = numbers[:, None] == numbers[None, :]
    return similarities, others, ops.logical_and(others, same)

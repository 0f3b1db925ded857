"""Fine-tuning that keeps more of the source than plain fine-tuning does."""

from tlkeras.transfer.regularizers import outputs, starting_point, weights
from tlkeras.transfer.regularizers.base import REGULARIZERS, Regularizer, Setting, make_regularizer

__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "Setting",
    "make_regularizer",
    "outputs",
    "starting_point",
    "weights",
]

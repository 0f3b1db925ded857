"""Regularizers: fine-tuning that keeps more of the pretrained model."""

from tlkeras.methods.regularize import forward_passes, outputs, patch_dropout, starting_point
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer, Setting, make_regularizer

__all__ = [
    "REGULARIZERS",
    "Regularizer",
    "Setting",
    "forward_passes",
    "make_regularizer",
    "outputs",
    "patch_dropout",
    "starting_point",
]

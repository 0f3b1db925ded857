"""The parts of domain adaptation, for a plain `keras.Model` and a training loop of one's own.

They are made of `keras.ops`, so that they also run on other backends of Keras.
"""

from tlkeras.methods.adapt.alignment import (
    afn,
    bnm,
    coral,
    domain_cross_entropy,
    entropy,
    gradient_penalty,
    joint_mmd,
    mcc,
    mcd,
    mdd,
    mean_distance,
    mmd,
    wasserstein,
)
from tlkeras.methods.adapt.domain_statistics import adapt_batch_norm
from tlkeras.methods.adapt.gradient_reversal import GradientReversal

__all__ = [
    "GradientReversal",
    "adapt_batch_norm",
    "afn",
    "bnm",
    "coral",
    "domain_cross_entropy",
    "entropy",
    "gradient_penalty",
    "joint_mmd",
    "mcc",
    "mcd",
    "mdd",
    "mean_distance",
    "mmd",
    "wasserstein",
]

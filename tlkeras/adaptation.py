"""The building blocks of domain adaptation, for a plain `keras.Model` and your own training loop.

They use only `keras.ops`, so they also run on the other backends of Keras. The importance weights `kmm`,
`kliep` and `domain_odds` take and return NumPy arrays; pass them to `fit` as `sample_weight`.
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
from tlkeras.methods.adapt.reweighting import domain_odds, kliep, kmm

__all__ = [
    "GradientReversal",
    "adapt_batch_norm",
    "afn",
    "bnm",
    "coral",
    "domain_cross_entropy",
    "domain_odds",
    "entropy",
    "gradient_penalty",
    "joint_mmd",
    "kliep",
    "kmm",
    "mcc",
    "mcd",
    "mdd",
    "mean_distance",
    "mmd",
    "wasserstein",
]

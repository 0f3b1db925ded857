"""Adaptation to an unlabelled target: methods by name, and validators that need no target labels."""

from tlkeras.lazy import lazy_modules
from tlkeras.methods.adapt import adversarial, classifier, discrepancy, reweighting
from tlkeras.methods.adapt.base import METHODS, Method, Pair, make_method

__all__ = [
    "METHODS", "Method", "Pair", "adversarial", "classifier", "discrepancy", "make_method", "reweighting",
]  # fmt: skip
__getattr__ = lazy_modules(__name__)

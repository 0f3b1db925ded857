"""Adaptation to an unlabelled target: methods by name, and validators that need no target labels."""

from tlkeras.lazy import lazy_modules
from tlkeras.methods.adapt import adversarial, classifier, discrepancy
from tlkeras.methods.adapt.base import METHODS, Method, Pair, make_method

__all__ = ["METHODS", "Method", "Pair", "adversarial", "classifier", "discrepancy", "make_method"]
__getattr__ = lazy_modules(__name__)

"""Adaptation to an unlabelled target: the methods by name, and validators without target labels."""

from tlkeras.methods.adapt import adversarial, classifier, discrepancy
from tlkeras.methods.adapt.base import METHODS, Method, Pair, make_method

__all__ = ["METHODS", "Method", "Pair", "adversarial", "classifier", "discrepancy", "make_method"]

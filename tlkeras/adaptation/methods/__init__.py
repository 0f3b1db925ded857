"""The adaptation methods by name: `METHODS`."""

from tlkeras.adaptation.methods import adversarial, classifier, discrepancy
from tlkeras.adaptation.methods.base import METHODS, Method, Pair, make_method

__all__ = ["METHODS", "Method", "Pair", "adversarial", "classifier", "discrepancy", "make_method"]

"""Finished runs: their description, predictions with them, and their nearest training images."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

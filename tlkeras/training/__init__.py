"""Stages, their optimizers, and the trainer that runs them."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

"""Transfer without gradient steps: classical learners on frozen features, and maps of feature spaces."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

"""Methods of transfer: terms, which a stage adds to the class loss, and probes, which need no gradient."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

"""Publishing: the folder of a finished run that others can use, and its way to the Hugging Face Hub."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

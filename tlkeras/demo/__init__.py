"""A web page to try a finished run: what it says of a picture, a sound or a text, and why.

The page shows what `SavedRun` answers and computes nothing of its own.
"""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

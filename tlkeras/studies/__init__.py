"""Many runs, one answer: twins and verdict, folds, two tasks, sweeps, rankings, searches, repetitions."""

from tlkeras.lazy import lazy_modules

__getattr__ = lazy_modules(__name__)

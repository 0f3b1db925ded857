"""Leaves out what a run writes for its readers alone, a quarter to a half of a small run's time."""

import contextlib
import importlib

import pytest

# Functions that tlkeras.run calls after the training. Neither weights nor metrics depend on them.
FOR_READERS = ("describe_domains", "write_evidence", "write_tensorboard", "write_report")


@contextlib.contextmanager
def unreported():
    """Leaves it out of the runs of this process."""
    run = importlib.import_module("tlkeras.run")
    with pytest.MonkeyPatch.context() as patch:
        for name in FOR_READERS:
            patch.setattr(run, name, lambda *given, **named: {})
        yield

"""Marks parameters whose tests only `--long` runs."""

import pytest


def further(*values, **more):
    """Returns a parameter of a test or a fixture that is a further variant of an expensive behaviour.

    CI runs the other values of the same parameter, at least one. `pytest --long` and `scripts/soak.sh` run
    this one.
    """
    return pytest.param(*values, marks=pytest.mark.long, **more)


def all_but(some, values):
    """Returns the values as parameters, those outside `some` as further variants."""
    assert set(some) <= set(values), set(some) - set(values)
    return [value if value in some else further(value) for value in values]

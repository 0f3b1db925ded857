"""Snapshots of variables that differ between replicas."""

import keras
import numpy as np
import pytest

from tlkeras.errors import RunError
from tlkeras.training import snapshots


class Copies:
    """Stands for a mirrored variable: two components, of which the first is what is read."""

    class Part:
        def __init__(self, value):
            self.array = np.asarray(value, "float32")

        def numpy(self):
            return self.array

        def assign(self, value):
            self.array = np.asarray(value)

    def __init__(self, *values):
        self.values = [Copies.Part(value) for value in values]
        self.shape = self.values[0].array.shape

    @property
    def value(self):
        return self

    def __array__(self, dtype=None, copy=None):
        return self.values[0].array

    def assign(self, value):
        for part in self.values:
            part.assign(value)


def test_replicas_get_their_own_values_back(monkeypatch):
    monkeypatch.setattr(snapshots.ops, "convert_to_numpy", np.asarray)
    arrays = snapshots.capture(
        {"bn/mean": Copies(1.0, 2.0), "kernel": Copies(3.0, 3.0)}, "model/", replicas=True
    )
    assert set(arrays) == {"model/bn/mean", "model/bn/mean@0", "model/bn/mean@1", "model/kernel"}
    fresh = {"bn/mean": Copies(0.0, 0.0), "kernel": Copies(0.0, 0.0)}
    snapshots.restore(fresh, arrays, "model/")
    assert [float(part.array) for part in fresh["bn/mean"].values] == [1.0, 2.0]
    assert [float(part.array) for part in fresh["kernel"].values] == [3.0, 3.0]
    snapshots.restore(fresh, arrays, "model/", replicas=False)
    assert [float(part.array) for part in fresh["bn/mean"].values] == [1.0, 1.0]
    # on another number of replicas all get what is read from the variable
    single = keras.Variable(0.0)
    snapshots.restore({"bn/mean": single, "kernel": keras.Variable(0.0)}, arrays, "model/")
    assert float(single) == 1.0


def test_foreign_arrays_are_refused():
    with pytest.raises(RunError, match="does not fit the model: kernel"):
        snapshots.restore({"kernel": keras.Variable(np.zeros(3))}, {"kernel": np.zeros(4)})

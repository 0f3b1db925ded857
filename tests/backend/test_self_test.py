"""The self-test of a device passes where training works, and fails where it does not."""

import keras
import pytest

from tlkeras.backend import self_test, start
from tlkeras.backend.accelerators import missing
from tlkeras.config import RuntimeConfig
from tlkeras.errors import RunError


@pytest.fixture
def runtime():
    return start(RuntimeConfig(strategy="none"), 0)


def test_a_device_that_works(runtime):
    found = self_test.overfit(runtime)
    assert found.last_loss < found.first_loss / 10
    assert found.difference < 1e-4
    assert "20 steps" in str(found)


def test_a_device_that_does_not_learn(runtime, monkeypatch):
    monkeypatch.setattr(keras.optimizers, "Adam", lambda rate: keras.optimizers.SGD(1e-6))
    with pytest.raises(RunError, match="cannot learn a single batch"):
        self_test.overfit(runtime)


def test_a_device_whose_outputs_are_wrong(runtime, monkeypatch):
    predict = self_test.DistributedFit.predict
    wrong = lambda *arguments, **named: predict(*arguments, **named) * 1.5  # noqa: E731
    monkeypatch.setattr(self_test.DistributedFit, "predict", wrong)
    with pytest.raises(RunError, match="computes other outputs"):
        self_test.overfit(runtime)


def test_models_of_one_process_are_left_as_they_are(runtime):
    """A functional DistributedFit would turn the class into one for every model made later."""
    before = self_test.DistributedFit.__bases__
    self_test.overfit(runtime)
    assert self_test.DistributedFit.__bases__ == before


def test_a_tpu_that_this_tensorflow_cannot_use(monkeypatch):
    monkeypatch.setattr("tlkeras.backend.accelerators.has_nvidia_driver", lambda: False)
    monkeypatch.setattr("tlkeras.backend.accelerators.has_libtpu", lambda: False)
    assert missing(0, {}) == []
    (reason,) = missing(0, {"TPU_NAME": "local"})
    assert "'.[tpu]'" in reason and "restart" in reason
    monkeypatch.setattr("tlkeras.backend.accelerators.has_libtpu", lambda: True)
    (reason,) = missing(0, {"TPU_NAME": "local"})
    assert "does not answer" in reason

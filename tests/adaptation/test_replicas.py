"""One device and two replicas end at the same weights and logs."""

import json
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASES = {"dann": {"units": [8]}, "dan": {}, "deep_coral": {}, "cdan_e": {"units": [8]}}


@pytest.fixture(scope="module")
def apart(last_json):
    """Returns, per method, the largest difference of weights and of logs."""
    return last_json(HERE / "two_replicas.py", json.dumps(CASES))


@pytest.mark.parametrize("name", CASES)
def test_same_weights_and_logs_on_two_replicas(apart, name):
    weights, logs = apart[name]
    assert weights < 1e-5
    assert logs < 1e-5

"""One device and two replicas end at the same weights and logs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CASES = {"dann": {"units": [8]}, "dan": {}, "deep_coral": {}, "cdan_e": {"units": [8]}}


@pytest.fixture(scope="module")
def apart():
    """Returns, per method, the largest difference of weights and of logs."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    output = subprocess.run(
        [sys.executable, HERE / "two_replicas.py", json.dumps(CASES)],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert output.returncode == 0, output.stderr[-4000:]
    return json.loads(output.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("name", CASES)
def test_same_weights_and_logs_on_two_replicas(apart, name):
    weights, logs = apart[name]
    assert weights < 1e-5
    assert logs < 1e-5

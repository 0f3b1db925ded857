"""A regularizer weighs the same on one device and on two replicas."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
CASES = {"l2_sp": 1.0, "delta": 1.0, "bss": 0.1, "mixout": 0.5, "lora": 1.0}


def test_same_weights_on_two_replicas():
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    output = subprocess.run(
        [sys.executable, HERE / "two_replicas_regularized.py", json.dumps(CASES)],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert output.returncode == 0, output.stderr[-4000:]
    apart = json.loads(output.stdout.strip().splitlines()[-1])
    assert apart.keys() == CASES.keys()
    assert max(apart.values()) < 1e-5, apart

"""Under replicas a picture's negatives are the other pictures of its replica."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_each_replica_compares_its_own_pictures():
    paths = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])
    output = subprocess.run(
        [sys.executable, HERE / "two_replicas_contrastive.py"],
        env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert output.returncode == 0, output.stderr[-4000:]
    apart = json.loads(output.stdout.strip().splitlines()[-1])
    assert apart["halves"] < 1e-6 and apart["whole"] > 1e-4, apart

"""A regularizer weighs the same on one device and on two replicas."""

import json
from pathlib import Path

HERE = Path(__file__).parent
CASES = {"l2_sp": 1.0, "delta": 1.0, "bss": 0.1, "mixout": 0.5, "lora": 1.0}


def test_same_weights_on_two_replicas(last_json):
    apart = last_json(HERE / "two_replicas_regularized.py", json.dumps(CASES))
    assert apart.keys() == CASES.keys()
    assert max(apart.values()) < 1e-5, apart

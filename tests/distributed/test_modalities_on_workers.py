"""Runs on texts, sounds, columns and several of them end with the same weights on two workers as on one."""

import json

import numpy as np
import pytest
from modality_runs import write
from variants import further
from worker_processes import finish, start

from tlkeras.run_dir import CheckpointStore


def last_weights(workdir) -> dict[str, np.ndarray]:
    arrays, _ = CheckpointStore(workdir / "stages/01_all/checkpoint").load()
    return {k: v for k, v in arrays.items() if k.startswith("model/") and "seed_generator" not in k}


@pytest.mark.parametrize(
    "kind", ["image_text_columns", further("text"), further("sound"), further("columns")]
)
def test_two_workers_end_with_the_weights_of_one(kind, tmp_path):
    config = write(kind, tmp_path / "rows")
    for topology in ("one", "workers"):
        cache = ["--set", f"cache.dir={tmp_path}/cache_{topology}"]
        finish(start(topology, config, tmp_path / topology, tmp_path / "logs", *cache))
    one, two = (last_weights(tmp_path / topology) for topology in ("one", "workers"))
    assert one.keys() == two.keys() and len(one) >= 4
    for name, values in one.items():
        np.testing.assert_allclose(two[name], values, rtol=0, atol=1e-5, err_msg=name)
    begun, _ = CheckpointStore(tmp_path / "one/stages/00_head/start").load()
    assert any(np.abs(one[f"model/{k}"] - v).max() > 1e-3 for k, v in begun.items() if f"model/{k}" in one)
    metrics = [json.loads((tmp_path / t / "evaluation/metrics.json").read_text()) for t in ("one", "workers")]
    assert metrics[0]["source"]["test"]["accuracy"] == metrics[1]["source"]["test"]["accuracy"]

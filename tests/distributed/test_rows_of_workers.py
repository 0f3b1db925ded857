"""Two workers of a source in shards see each row of an epoch once, and read no row of each other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from free_ports import free_ports
from variants import further
from worker_processes import ENVIRONMENT

from tlkeras.config import DataConfig
from tlkeras.data import load_domain
from tlkeras.data.orders import rows_of_step
from tlkeras.data.shard_writing import write_shards

SCRIPT = Path(__file__).parent / "rows_of_worker.py"
ROWS, BATCH, STEPS = 96, 16, 12  # as in the script


@pytest.mark.parametrize("order", ["shards", further("rows")])
def test_two_workers_divide_each_batch(tmp_path, monkeypatch, order):
    monkeypatch.setattr("tlkeras.data.shard_writing.MIB", 2**9)
    pixels = np.zeros((ROWS, 8, 8, 3), np.uint8) + np.arange(ROWS, dtype=np.uint8)[:, None, None, None]
    config = DataConfig(source="arrays", val_fraction=0, test_fraction=0)
    source = load_domain(config, seed=0, arrays={"train": (pixels, np.arange(ROWS) % 2)})
    assert write_shards(source, str(tmp_path / "shards"), "tfrecords", 1).shards > 5
    addresses, processes = [f"127.0.0.1:{port}" for port in free_ports(2)], []

    def started(index):
        task = {"type": "worker", "index": index}
        cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
        words = [SCRIPT, tmp_path / "shards", order, *(tmp_path / f"{i}.npz" for i in (index, 1 - index))]
        with open(tmp_path / f"{index}.log", "w") as log:
            environment = {**os.environ, **ENVIRONMENT, "TF_CONFIG": cluster}
            command = [sys.executable, *map(str, words)]
            processes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))

    try:
        for index in range(2):
            started(index)
        codes = [process.wait(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0], [(tmp_path / f"{index}.log").read_text()[-3000:] for index in range(2)]
    first, second = (dict(np.load(tmp_path / f"{index}.npz")) for index in range(2))
    both = np.concatenate([first["got"], second["got"]], axis=1)
    assert both.shape == (STEPS, BATCH)
    for epoch in np.split(both, 2):
        assert sorted(epoch.ravel()) == list(range(ROWS))
    settings = {"order": order, "order_window": 20, "image_size": 8, "val_fraction": 0, "test_fraction": 0}
    config = DataConfig(source=f"tfrecords:{tmp_path / 'shards'}", **settings)
    rows = load_domain(config, seed=0).splits["train"]
    for step, got in enumerate(both):  # as one process
        assert got.tolist() == rows_of_step(rows, 3, step, BATCH)[1].tolist()
    for worker in (first, second):
        assert sorted(worker["read"]) == sorted(worker["got"].ravel())
    shards = [set(worker["shard"][worker["got"][: STEPS // 2].ravel()]) for worker in (first, second)]
    shared, all_shards = len(shards[0] & shards[1]), len(shards[0] | shards[1])
    assert shared <= 2 if order == "shards" else shared > all_shards / 2

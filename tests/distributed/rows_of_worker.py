"""Reads two epochs of shards as one of several workers: `python rows_of_worker.py FOLDER ORDER OUT.npz`.

It writes which rows it got in each step, and which ones it has read from the shards.
"""

import sys

from tlkeras import backend
from tlkeras.config import DataConfig, RuntimeConfig

FOLDER, ORDER, OUT = sys.argv[1:]
RUNTIME = backend.start(RuntimeConfig(strategy="multi_worker"), 0)

import numpy as np  # noqa: E402

from tlkeras.data import load_domain, training_batches  # noqa: E402
from tlkeras.data.shard_column import ShardRow  # noqa: E402

BATCH, STEPS = 16, 12  # 96 rows, two epochs

config = DataConfig(
    source=f"tfrecords:{FOLDER}", val_fraction=0, test_fraction=0, image_size=8, order=ORDER, order_window=20,
    memory_mb=0,
)  # fmt: skip
domain = load_domain(config, seed=0)
read, one = [], ShardRow.read
ShardRow.read = lambda self: read.append((self.shard.path, self.offset)) or one(self)
batches = training_batches(
    domain.splits["train"], domain, batch_size=BATCH, seed=3, steps=STEPS,
    part=(RUNTIME.worker_index, RUNTIME.workers),
)  # fmt: skip
distributed = RUNTIME.strategy.experimental_distribute_dataset(RUNTIME.distribute(batches))
iterator, got = iter(distributed), []
for _ in range(STEPS):
    (x,) = RUNTIME.strategy.experimental_local_results(next(iterator)[0])
    got.append(x.numpy()[:, 0, 0, 0].astype(int))
del iterator, distributed, batches  # before the process ends, which a thread of tf.data would not survive
rows = domain.splits["train"].inputs
places = {(row.shard.path, row.offset): number for number, row in enumerate(rows)}
np.savez(OUT, got=np.stack(got), read=[places[place] for place in read], shard=rows.number)

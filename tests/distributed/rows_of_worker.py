"""Reads two epochs of shards as a worker: `python rows_of_worker.py FOLDER ORDER OUT.npz OTHER.npz`.

It writes which rows it got in each step, and which ones it has read from the shards. It ends after the other
worker, whose last step needs it, and without the clearing up in which threads of TensorFlow may still work.
"""

import os
import sys
import time
from pathlib import Path

from tlkeras import backend
from tlkeras.config import DataConfig, RuntimeConfig

FOLDER, ORDER, OUT, OTHER = sys.argv[1:]
RUNTIME = backend.start(RuntimeConfig(strategy="multi_worker"), 0)

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

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


@tf.function
def first_pixels(iterator):
    """Takes a batch as `fit` does, and returns the first pixel of each row of this worker."""
    return RUNTIME.strategy.run(lambda x, y: x[:, 0, 0, 0], args=next(iterator))


for _ in range(STEPS):
    (pixels,) = RUNTIME.strategy.experimental_local_results(first_pixels(iterator))
    got.append(pixels.numpy().astype(int))
rows = domain.splits["train"].inputs
places = {(row.shard.path, row.offset): number for number, row in enumerate(rows)}
np.savez(f"{OUT}.part.npz", got=np.stack(got), read=[places[place] for place in read], shard=rows.number)
os.replace(f"{OUT}.part.npz", OUT)
end = time.monotonic() + 120
while not Path(OTHER).exists() and time.monotonic() < end:
    time.sleep(0.05)
os._exit(0)

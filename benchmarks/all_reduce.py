"""Shows the cost of sending gradients: an estimate for 1 to 256 replicas, and a measurement with two
processes.

Command:  python benchmarks/all_reduce.py            (docs/scaling.md shows the tables)
Compare:  the time of a step, which is in the same tables.
"""

import json
import os
import socket
import subprocess
import sys
import time

# name: (bytes per second and direction, seconds per message)
LINKS = {"NVLink": (300e9, 5e-6), "100 Gb/s": (12.5e9, 30e-6), "TPU interconnect": (100e9, 2e-6)}
# ResNet50 at 224 px and 64 rows a replica, 40 TFLOP/s sustained: (parameters that train, seconds per step)
STAGES = {
    "head on cached features": (2.05e6, 0.0003),
    "head, trunk computed": (2.05e6, 0.013),
    "last stage and head": (17.0e6, 0.018),
    "all": (25.6e6, 0.040),
}
REPLICAS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MEASURED_BYTES = (8_000, 8_000_000, 100_000_000)


def ring_seconds(size: float, replicas: int, link: str) -> float:
    """Returns the time of a ring all-reduce, which has 2 (n - 1) rounds."""
    bandwidth, latency = LINKS[link]
    rounds = 2 * (replicas - 1)
    return rounds / replicas * size / bandwidth + rounds * latency


def efficiency(stage: str, replicas: int, link: str) -> float:
    """Returns the share of a step that is not spent waiting for gradients, without overlap."""
    parameters, step = STAGES[stage]
    return step / (step + ring_seconds(4 * parameters, replicas, link))


def print_tables() -> None:
    """Prints the efficiency of each kind of stage for each link."""
    for link in LINKS:
        print(f"\n{link}\n| stage | " + " | ".join(map(str, REPLICAS)) + " |")
        print("|---" * (len(REPLICAS) + 1) + "|")
        for stage in STAGES:
            cells = [f"{100 * efficiency(stage, n, link):.0f}" for n in REPLICAS]
            print(f"| {stage} | " + " | ".join(cells) + " |")


def _all_reduced(x):
    import tensorflow as tf

    here = x + 1.0  # on the replica's device
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)[:1]


def measure() -> None:
    """Measures, as one of two workers, the median time of seven all-reduces of each size."""
    from tlkeras.backend import start
    from tlkeras.config import RuntimeConfig

    runtime = start(RuntimeConfig(strategy="multi_worker"), 0)
    import numpy as np
    import tensorflow as tf

    for size in MEASURED_BYTES:
        values = tf.zeros(size // 4)

        @tf.function
        def reduce(x):
            return runtime.strategy.run(_all_reduced, args=(x,))

        reduce(values)
        times = []
        for _ in range(7):
            began = time.perf_counter()
            float(reduce(values)[0])
            times.append(time.perf_counter() - began)
        if runtime.is_chief:
            print(f"two processes, {size:>11,} bytes: {1e3 * np.median(times):8.1f} ms", flush=True)


def main() -> None:
    """Prints the tables, then starts the two workers."""
    if "TF_CONFIG" in os.environ:
        measure()
        return
    print_tables()
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    workers = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environ = os.environ | {"TF_CONFIG": json.dumps(task)}
        workers.append(subprocess.Popen([sys.executable, __file__], env=environ))
    sys.exit(max(worker.wait() for worker in workers))


if __name__ == "__main__":
    main()

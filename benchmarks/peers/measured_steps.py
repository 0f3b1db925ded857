"""The measuring side of steps.py, which is the same for all libraries."""

import statistics
import sys
import time
from collections.abc import Callable

BATCH, SIZE, CLASSES = 32, 160, 10
REPEATS = {"step": 4, "predict": 6, "extract": 6}


def answer(runs: dict[str, Callable[[], object]]) -> None:
    """Runs everything twice, prints `ready`, and measures what each line of the standard input names.

    Args:
        runs: Function by the kind of measurement. It returns after its batch is computed.
    """
    for run in runs.values():
        run()
        run()
    print("\nready", flush=True)
    for line in sys.stdin:
        kind = line.strip()
        print(f"\n{kind} {1e3 * _seconds(runs[kind], REPEATS[kind]) / BATCH:.4f}", flush=True)


def _seconds(run: Callable[[], object], repeats: int) -> float:
    """Returns the median time of a call, after one call that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)

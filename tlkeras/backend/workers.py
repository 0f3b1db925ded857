"""How the worker processes of a run agree. All of them call these functions, in the same order."""

import json
import time
from typing import Any

import numpy as np

from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")

# A signal to one worker is seen by all after about this long; asking costs one small all-reduce.
ASK_EVERY_SECONDS = 0.5
_MOST_CALLS = 1000


def from_chief(runtime, value: Any = None) -> Any:
    """Returns what the chief passed, in every worker; the others wait for it.

    Args:
        runtime: The run's `Runtime`.
        value: Of the chief: anything JSON can hold.
    """
    if runtime.workers == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8) if runtime.is_chief else np.zeros(0)
    size = int(_sum(runtime, np.array([len(content)]))[0])
    whole = np.zeros(size)
    whole[: len(content)] = content
    return json.loads(_sum(runtime, whole).astype(np.uint8).tobytes())


def arrays_from_chief(runtime, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the chief's float arrays in every worker; all pass arrays of the same shapes."""
    if runtime.workers == 1:
        return arrays
    share = 1.0 if runtime.is_chief else 0.0
    return [_sum(runtime, np.asarray(array, np.float32) * share).astype(array.dtype) for array in arrays]


def wait_for_all(runtime) -> None:
    """Returns once every worker has come here."""
    if runtime.workers > 1:
        _sum(runtime, np.zeros(1))


class Decisions:
    """Lets what only one worker knows (its clock, its signals) decide for all, at the same step.

    How often the workers ask each other follows from the time between calls, as they see it together.

    Args:
        runtime: The run's `Runtime`.
    """

    def __init__(self, runtime):
        self._runtime = runtime
        self._since = time.monotonic()
        self._calls, self._pause = 0, 1

    def any_worker(self, *flags: bool, now: bool = False) -> tuple[bool, ...]:
        """Returns for each flag whether it is true in some worker; all False where none is asked.

        Args:
            *flags: What is true here.
            now: Whether to ask in any case; the same in every worker.
        """
        if self._runtime.workers == 1:
            return flags
        self._calls += 1
        if not now and self._calls < self._pause:
            return (False,) * len(flags)
        seconds = max((time.monotonic() - self._since) / self._calls, 1e-6)
        sums = _sum(self._runtime, np.array([*map(float, flags), seconds]))
        mean = float(sums[-1]) / self._runtime.workers
        self._pause = min(max(int(ASK_EVERY_SECONDS / mean), 1), _MOST_CALLS)
        self._calls, self._since = 0, time.monotonic()
        return tuple(bool(total > 0) for total in sums[:-1])


def _sum(runtime, array: np.ndarray) -> np.ndarray:
    """Returns the sum of the workers' arrays, float32."""
    strategy = runtime.strategy
    here = strategy.num_replicas_in_sync // runtime.workers
    mine = tf.constant(array, tf.float32)

    def of_replica(context):  # a worker with several devices speaks through its first
        return mine if context.replica_id_in_sync_group % here == 0 else tf.zeros_like(mine)

    parts = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()

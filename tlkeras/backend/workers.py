"""Communication between the workers of a run. All workers must call these functions in the same order."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from tlkeras.lazy import LateModule

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
else:
    np, tf = LateModule("numpy"), LateModule("tensorflow")

# All workers notice a signal to one of them after about this time. A check costs one small all-reduce.
ASK_EVERY_SECONDS = 0.5
_MOST_CALLS = 1000


def from_chief(runtime, value: Any = None) -> Any:
    """Returns the value of the chief in every worker. The other workers wait for it.

    Args:
        runtime: `Runtime` of the run.
        value: JSON value of the chief. The values of other workers are not used.
    """
    if runtime.workers == 1:
        return value
    content = np.frombuffer(json.dumps(value).encode(), np.uint8) if runtime.is_chief else np.zeros(0)
    size = int(_sum(runtime, np.array([len(content)]))[0])
    whole = np.zeros(size)
    whole[: len(content)] = content
    return json.loads(_sum(runtime, whole).astype(np.uint8).tobytes())


def arrays_from_chief(runtime, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Returns the float arrays of the chief in every worker. All workers pass arrays of the same shapes."""
    if runtime.workers == 1:
        return arrays
    share = 1.0 if runtime.is_chief else 0.0
    return [_sum(runtime, np.asarray(array, np.float32) * share).astype(array.dtype) for array in arrays]


def wait_for_all(runtime) -> None:
    """Waits until every worker has called this function."""
    if runtime.workers > 1:
        _sum(runtime, np.zeros(1))


class Decisions:
    """Common decisions at the same step that depend on the clock or the signals of a single worker.

    The interval between checks follows from the time between calls, on which the workers agree.

    Args:
        runtime: `Runtime` of the run.
    """

    def __init__(self, runtime):
        self._runtime = runtime
        self._since = time.monotonic()
        self._calls, self._pause = 0, 1

    def any_worker(self, *flags: bool, now: bool = False) -> tuple[bool, ...]:
        """Returns for each flag whether it is true in any worker. Without a check all are False.

        Args:
            *flags: Flags of this worker.
            now: Whether a check is made in any case. It must be equal in all workers.
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
    """Returns the sum of the arrays of all workers, float32."""
    strategy = runtime.strategy
    here = strategy.num_replicas_in_sync // runtime.workers
    mine = tf.constant(array, tf.float32)

    def of_replica(context):  # a worker with several devices uses its first
        return mine if context.replica_id_in_sync_group % here == 0 else tf.zeros_like(mine)

    parts = strategy.experimental_distribute_values_from_function(of_replica)
    return strategy.reduce(tf.distribute.ReduceOp.SUM, parts, axis=None).numpy()

"""The device side of a run: TensorFlow's devices, strategies, precision, threads and seeds."""

from tlkeras.backend.environment import check_batch_size, check_single_process, name_workers
from tlkeras.backend.health import WorkerLostError, watch_workers
from tlkeras.backend.importing import import_tensorflow
from tlkeras.backend.start import Runtime, set_determinism, start
from tlkeras.backend.workers import Decisions, arrays_from_chief, from_chief, wait_for_all

__all__ = [
    "Decisions",
    "Runtime",
    "WorkerLostError",
    "arrays_from_chief",
    "check_batch_size",
    "check_single_process",
    "from_chief",
    "import_tensorflow",
    "name_workers",
    "set_determinism",
    "start",
    "wait_for_all",
    "watch_workers",
]

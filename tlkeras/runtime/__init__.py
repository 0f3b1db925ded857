"""Where a run computes: TensorFlow's devices, a tf.distribute strategy, precision, threads and seeds."""

from tlkeras.runtime.choice import check_batch_size
from tlkeras.runtime.health import WorkerLostError, watch_workers
from tlkeras.runtime.importing import import_tensorflow
from tlkeras.runtime.start import Runtime, start

__all__ = ["Runtime", "WorkerLostError", "check_batch_size", "import_tensorflow", "start", "watch_workers"]

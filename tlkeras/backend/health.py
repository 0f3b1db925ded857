"""The treatment of lost workers."""

import contextlib

from tlkeras.errors import RunError
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")


class WorkerLostError(RunError):
    """Another worker is lost. This worker cannot continue alone and ends with exit code 1."""


@contextlib.contextmanager
def watch_workers(runtime):
    """Context of a training that reports the loss of another worker with advice.

    TensorFlow checks the other workers about every ten seconds. If one is lost, the waiting collective fails.
    With a single worker the context has no effect.

    Raises:
        WorkerLostError: Another worker of `runtime` is lost.
    """
    if runtime.workers == 1:
        yield
        return
    lost = (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.CancelledError,
        tf.errors.DeadlineExceededError,
    )
    try:
        yield
    except lost as error:
        raise _advice(runtime, error) from error
    except tf.errors.InternalError as error:
        if "ollective" not in str(error):
            raise
        raise _advice(runtime, error) from error


def _advice(runtime, error) -> WorkerLostError:
    noise = ("Graph execution error", "Detected at node", "  File", "<")
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith(noise)]
    reason = lines[-1][:200] if lines else type(error).__name__
    return WorkerLostError(
        f"Worker {runtime.worker_index} of {runtime.workers} lost another worker and stops. Start all "
        "workers again with the same command and --workdir: they go on from the last checkpoint. "
        f"TensorFlow says: {reason}"
    )

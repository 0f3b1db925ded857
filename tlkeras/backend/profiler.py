"""TensorFlow's profiler, whose traces TensorBoard shows."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


def start_profile(folder: str) -> None:
    """Starts a trace of the devices, which `stop_profile` writes to the folder."""
    tf.profiler.experimental.start(folder)


def stop_profile() -> None:
    """Ends the trace and writes it."""
    tf.profiler.experimental.stop()


@contextmanager
def profiling(folder: str) -> Iterator[None]:
    """Context in which the devices are traced."""
    start_profile(folder)
    try:
        yield
    finally:
        stop_profile()

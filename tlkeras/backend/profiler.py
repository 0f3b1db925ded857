"""TensorFlow's profiler, whose traces TensorBoard shows."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


def start_profile(folder: str) -> None:
    """Begins a trace of all that the devices do; it is written to a folder by `stop_profile`."""
    tf.profiler.experimental.start(folder)


def stop_profile() -> None:
    """Ends the trace and writes it."""
    tf.profiler.experimental.stop()


@contextmanager
def profiling(folder: str) -> Iterator[None]:
    """Traces what is done inside."""
    start_profile(folder)
    try:
        yield
    finally:
        stop_profile()

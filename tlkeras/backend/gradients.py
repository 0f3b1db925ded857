"""Gradients of what is computed on the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def recording(*watched) -> Iterator[tf.GradientTape]:
    """Records what is computed inside, and yields the tape that differentiates it.

    `tape.gradient(value, sources)` returns the gradients, None for a source that the value does not depend
    on; `with tape.stop_recording():` leaves a part out.

    Args:
        *watched: Tensors whose gradients are wanted. Variables that train are watched by themselves.

    Example:
        >>> with recording(x) as tape:
        ...     y = critic(x)
        >>> slope = tape.gradient(y, x)
    """
    with tf.GradientTape() as tape:
        for tensor in watched:
            tape.watch(tensor)
        yield tape

"""Recording of computations for gradients."""

from collections.abc import Iterator
from contextlib import contextmanager

import tensorflow as tf


@contextmanager
def recording(*watched) -> Iterator[tf.GradientTape]:
    """Records computations, and yields the tape that differentiates them.

    `tape.gradient(value, sources)` returns the gradients, or None for a source on which the value does not
    depend. `with tape.stop_recording():` excludes a part.

    Args:
        *watched: Tensors whose gradients are wanted. Trainable variables are watched automatically.

    Example:
        >>> with recording(x) as tape:
        ...     y = critic(x)
        >>> slope = tape.gradient(y, x)
    """
    with tf.GradientTape() as tape:
        for tensor in watched:
            tape.watch(tensor)
        yield tape

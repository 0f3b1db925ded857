"""Random changes by NumPy, row by row, in tf.data: pure functions of the seed, the epoch and the row."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from tlkeras.data.presence import FAINT


def marked_as_there(x: tf.Tensor, known: np.ndarray, indices: tf.Tensor) -> tf.Tensor:
    """Returns pictures or sounds, float32 `(b, ...)`, in which those that are there have values that are not
    zero, even if they are black or silent.

    Args:
        x: Pixels or samples `(b, ...)`.
        known: Whether the part is there in each row of the data, bool `(n,)`.
        indices: Indices of the rows of the batch, int64 `(b,)`.
    """
    x = tf.cast(x, tf.float32)
    axes = list(range(1, x.shape.rank))
    there = tf.numpy_function(lambda places: known[places], [indices], tf.bool, stateful=False)
    there = tf.reshape(there, [-1, *[1] * len(axes)])
    return tf.where(there & tf.reduce_all(tf.equal(x, 0), axes, keepdims=True), FAINT, x)


def still_there(x: tf.Tensor, changed: tf.Tensor) -> tf.Tensor:
    """Returns changed pictures or sounds `(b, ...)`, but those unchanged that are missing (zeros), or of
    which the changes leave only zeros.

    A model takes zeros as a missing part. Noise would make it a part that is there in training alone.
    """
    axes = list(range(1, x.shape.rank))
    before, after = (tf.reduce_any(tf.not_equal(part, 0), axes, keepdims=True) for part in (x, changed))
    return tf.where(before & after, changed, tf.cast(x, changed.dtype))


def changed_rows(
    x: Mapping[str, tf.Tensor],
    change: Callable[[dict[str, np.ndarray], np.random.Generator], Mapping[str, np.ndarray]],
    seed: int,
    epoch: tf.Tensor,
    indices: tf.Tensor,
) -> dict[str, tf.Tensor]:
    """Changes each row of a batch.

    Args:
        x: Columns of the batch, `(b, ...)`.
        change: Function of the columns of one row and a random generator. It returns columns of the same
            names, shapes and dtypes.
        seed: Seed of the stage.
        epoch: Number of the epoch, or of a fixed view, int64 scalar.
        indices: Indices of the rows, int64 `(b,)`.
    """
    names = list(x)

    def change_all(epoch, indices, *parts):
        rows = (dict(zip(names, row, strict=True)) for row in zip(*parts, strict=True))
        changed = [
            change(row, np.random.default_rng([seed, int(epoch), int(index)]))
            for index, row in zip(indices, rows, strict=True)
        ]
        return [np.stack([row[name] for row in changed]) for name in names]

    dtypes = [part.dtype for part in x.values()]
    changed = tf.numpy_function(change_all, [epoch, indices, *x.values()], dtypes, stateful=False)
    parts = tf.nest.flatten(changed)  # a single column comes back without a list
    for part, before in zip(parts, x.values(), strict=True):
        part.set_shape(before.shape)
    return dict(zip(names, parts, strict=True))

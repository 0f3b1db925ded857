"""Batches of features, with the same rows in the same order as the batches of inputs.

Rows are gathered for up to some hundred steps at once, because each call of Python takes time.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tlkeras.data.domains import Domain
from tlkeras.data.orders import order_of, rows_of_step
from tlkeras.data.pipeline import label_column
from tlkeras.data.rows import Rows

# The largest chunk of rows that is gathered at once.
_CHUNK_BYTES = 8 * 2**20
_CHUNK_STEPS = 512


class Features:
    """The outputs of a trunk for the rows of one split.

    Attributes:
        shape: `(rows, ...)`.
        dtype: NumPy dtype.
    """

    shape: tuple[int, ...]
    dtype: np.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def take(self, indices: np.ndarray) -> np.ndarray:
        """Returns the rows at `indices` `(b,)` as a new array `(b, ...)`."""
        raise NotImplementedError


def training_batches(
    views: Sequence[Features],
    rows: Rows,
    domain: Domain,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    steps: int,
    with_labels: bool = True,
) -> tf.data.Dataset:
    """Returns batches of features. Step j has the rows that it has in `tlkeras.data.training_batches`.

    Args:
        views: Features of all rows: a single entry, or one entry per fixed view of `data.views`. Epoch e
            reads view e modulo their number.
        rows: Rows to train on.
        domain: Domain of the rows.
        batch_size: Number of rows per step.
        seed: Seed of the order.
        start_step: First step, counted from the beginning of the stage.
        steps: Last step of the stage, plus one.
        with_labels: Whether the batches contain labels.

    Returns:
        `steps - start_step` batches `(x, y)`, or `x` alone. `x` has the dtype of the features.
    """
    labels, order = label_column(rows, domain) if with_labels else None, order_of(rows)
    row_bytes = int(np.prod(views[0].shape[1:])) * views[0].dtype.itemsize
    width = int(np.clip(_CHUNK_BYTES // (row_bytes * batch_size), 1, _CHUNK_STEPS))

    def chunk(begin, end):
        places = [rows_of_step(order, seed, step, batch_size) for step in range(begin, end)]
        x = np.empty((end - begin, batch_size, *views[0].shape[1:]), views[0].dtype)
        for view in {epoch % len(views) for epoch, _ in places}:
            chosen = [i for i, (epoch, _) in enumerate(places) if epoch % len(views) == view]
            taken = views[view].take(np.concatenate([places[i][1] for i in chosen]))
            x[chosen] = taken.reshape(len(chosen), *x.shape[1:])
        indices = np.stack([indices for _, indices in places])
        return (x,) if labels is None else (x, labels[indices])

    return _unrolled(chunk, _specs(views[0], labels, batch_size), start_step, steps, width)


def evaluation_batches(features: Features, rows: Rows, domain: Domain, *, batch_size: int) -> tf.data.Dataset:
    """Returns batches `(x, y, weight)` of features, in the same form as
    `tlkeras.data.evaluation_batches(pad=True)`.

    Args:
        features: Features of the rows.
        rows: Rows with their labels.
        domain: Domain of the rows.
        batch_size: Number of rows per batch. The last batch is padded, and padding has the weight 0.
    """
    labels, count = label_column(rows, domain), len(features)
    steps = -(-count // batch_size)
    row_bytes = int(np.prod(features.shape[1:])) * features.dtype.itemsize
    width = int(np.clip(_CHUNK_BYTES // (row_bytes * batch_size), 1, _CHUNK_STEPS))

    def chunk(begin, end):
        positions = np.arange(begin * batch_size, end * batch_size)
        indices = np.minimum(positions, count - 1)
        cut = lambda values: values.reshape(end - begin, batch_size, *values.shape[1:])  # noqa: E731
        return cut(features.take(indices)), cut(labels[indices]), cut((positions < count).astype(np.float32))

    specs = (*_specs(features, labels, batch_size), tf.TensorSpec((batch_size,), tf.float32))
    return _unrolled(chunk, specs, 0, steps, width)


def _specs(features: Features, labels, batch_size: int) -> tuple:
    x = tf.TensorSpec((batch_size, *features.shape[1:]), tf.as_dtype(features.dtype))
    return (x,) if labels is None else (x, tf.TensorSpec((batch_size, *labels.shape[1:]), labels.dtype))


def _unrolled(chunk, specs: tuple, begin: int, end: int, width: int) -> tf.data.Dataset:
    """Returns the steps from `begin` to `end` as single elements. `chunk(i, j)` makes the steps i to j."""

    def make(start):
        return chunk(int(start), min(int(start) + width, end))

    @tf.autograph.experimental.do_not_convert
    def read(start):
        values = tf.numpy_function(make, [start], [spec.dtype for spec in specs], stateful=False)
        for value, spec in zip(values, specs, strict=True):
            value.set_shape((None, *spec.shape))
        return tuple(values) if len(values) > 1 else values[0]

    starts = tf.data.Dataset.range(begin, end, width)
    steps = starts.map(read).prefetch(1).unbatch()
    settings = tf.data.Options()
    settings.deterministic = True
    settings.autotune.enabled = False  # as in tlkeras.data.pipeline
    steps = steps.apply(tf.data.experimental.assert_cardinality(end - begin))
    return steps.prefetch(tf.data.AUTOTUNE).with_options(settings)

"""Batches from several datasets: alternating, zipped, or one batch repeated."""

import keras
import numpy as np
import tensorflow as tf

from tlkeras.data.orders import Order, rows_of_step
from tlkeras.errors import UserError


def repeated(batch) -> tf.data.Dataset:
    """Returns an endless dataset in which every element is this batch."""
    return tf.data.Dataset.from_tensors(batch).repeat()


def in_turn(parts: list[tf.data.Dataset], first_step: int, end: int) -> tf.data.Dataset:
    """Alternates between datasets: step j takes the next batch of dataset j modulo their number.

    Args:
        parts: Datasets, each starting at the first batch that is to be used.
        first_step: Number of the first step.
        end: Number of the last step, plus one.
    """
    choices = tf.data.Dataset.range(first_step, end).map(lambda step: step % len(parts))
    return tf.data.Dataset.choose_from_datasets(parts, choices, stop_on_empty_dataset=False)


def side_by_side(*parts: tf.data.Dataset) -> tf.data.Dataset:
    """Returns tuples with one batch of each dataset. It ends with the shortest dataset."""
    return tf.data.Dataset.zip(parts)


def pair_batches(source: tf.data.Dataset, *target_views: tf.data.Dataset) -> tf.data.Dataset:
    """Zips a labelled source with one or more views of an unlabelled target.

    Only the inputs of a target batch are kept. Labels are dropped here and cannot reach the training.

    Args:
        source: Dataset of batches `(x, y)` or `(x, y, weight)`.
        *target_views: Datasets of batches `x`, or of tuples that start with `x`, with the same rows in the
            same order.

    Returns:
        Batches `((x, y[, weight]), target_x)`, or `((x, y[, weight]), (view, view))`. Inputs are tensors or
        dicts of tensors.
    """
    source_spec = source.element_spec
    if not isinstance(source_spec, tuple) or len(source_spec) < 2:
        raise UserError(f"The source needs labels. Received: batches of {source_spec}")
    views = tuple(view.map(_inputs_only, num_parallel_calls=1) for view in target_views)
    return side_by_side(source, views[0] if len(views) == 1 else views)


def with_row_weights(
    batches: tf.data.Dataset,
    weights: np.ndarray,
    order: Order,
    batch_size: int,
    seed: int,
    start_step: int,
    steps: int,
) -> tf.data.Dataset:
    """Returns batches `(x, y, weight)` of training batches `(x, y)`.

    Args:
        batches: Batches of `training_batches` with the same arguments.
        weights: Weight of each row, float32 `(n,)`.
        order: Order of the rows.
        batch_size: Number of rows per step.
        seed: Seed of the order.
        start_step: First step.
        steps: Last step, plus one.
    """
    factors = tf.constant(weights, tf.float32)

    def rows_of(step):
        return rows_of_step(order, seed, step, batch_size)[1]

    @tf.autograph.experimental.do_not_convert
    def weigh(batch, step):
        indices = tf.numpy_function(rows_of, [step], tf.int64, stateful=False)
        indices.set_shape((batch_size,))
        return *batch, tf.gather(factors, indices)

    pairs = tf.data.Dataset.zip(batches, tf.data.Dataset.range(start_step, steps))
    return pairs.map(weigh, num_parallel_calls=1)


def target_views(batch, wanted: int) -> tuple:
    """Returns the target views in a training batch, and refuses a batch that could hold target labels.

    Args:
        batch: Batch of the form that `pair_batches` yields.
        wanted: Required number of views.

    Raises:
        UserError: The batch has another form.
    """
    paired = isinstance(batch, tuple | list) and isinstance(batch[0], tuple | list)
    views = batch[1] if paired and len(batch) == 2 else None
    views = views if isinstance(views, tuple | list) else (views,)
    shapes = [
        keras.tree.map_structure(lambda part: tuple(part.shape), view) for view in views if view is not None
    ]
    if not paired or len(shapes) != wanted or any(shape != shapes[0] for shape in shapes):
        raise UserError(
            f"A training batch must be ((source_x, source_y), target_x), with {wanted} view(s) of "
            "the target and no target labels. Received: "
            f"{keras.tree.map_structure(lambda v: tuple(v.shape), batch)}"
        )
    return tuple(views)


def _inputs_only(x, *_):
    return x

"""Source batches beside target batches, from which target labels have been dropped."""

import tensorflow as tf

from tlkeras.errors import UserError


def pair_batches(source: tf.data.Dataset, *target_views: tf.data.Dataset) -> tf.data.Dataset:
    """Zips a labelled source with one or more views of an unlabelled target.

    Whatever a target batch holds beside its inputs is dropped here, before anything that trains.

    Args:
        source: Batches `(x, y)` or `(x, y, weight)`.
        *target_views: Batches `x`, or tuples that start with `x`; the same rows in the same order.

    Returns:
        Batches `((x, y[, weight]), target_x)`, or `((x, y[, weight]), (view, view))`.
    """
    source_spec = source.element_spec
    if not isinstance(source_spec, tuple) or len(source_spec) < 2:
        raise UserError(f"The source needs labels. Received: batches of {source_spec}")
    views = tuple(view.map(_inputs_only, num_parallel_calls=1) for view in target_views)
    return tf.data.Dataset.zip((source, views[0] if len(views) == 1 else views))


def _inputs_only(x, *_):
    return x

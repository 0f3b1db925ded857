"""The replicas that share a batch: how many there are, and the rows of all of them."""

import tensorflow as tf


def replica_count() -> int:
    """Returns how many replicas share a global batch under the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gather_rows(x):
    """Returns the rows of every replica, `(replicas * n, ...)`, in the order of the global batch.

    Backward, each replica's own rows get their gradient times the number of replicas. So a loss on
    the result, divided by the number of replicas as every loss is, gives the gradient of one device.
    With one replica `x` is returned as it is.

    Args:
        x: Of shape `(n, ...)`, n alike on all replicas.

    Returns:
        Rows whose static shape is `(replicas * n, ...)`, or `(None, ...)` where n is known only as it runs.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x
    replicas = context.num_replicas_in_sync
    # collectives forget the shape
    shape = [None if x.shape[0] is None else replicas * x.shape[0], *x.shape[1:]]
    rows = tf.ensure_shape(context.all_gather(tf.stop_gradient(x), axis=0), shape)
    if not x.dtype.is_floating:
        return rows
    own = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=x.dtype) * replicas
    slope = x - tf.stop_gradient(x)  # exactly 0, with slope 1
    spread = tf.reshape(own, [replicas] + [1] * x.shape.rank) * slope[None]
    return rows + tf.reshape(spread, tf.shape(rows))

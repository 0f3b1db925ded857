"""The replicas that share a batch: their number, and the rows of all replicas."""

import tensorflow as tf


def replica_count() -> int:
    """Returns the number of replicas that share a global batch in the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def gather_rows(x):
    """Returns the rows of every replica, `(replicas * n, ...)`, in the order of the global batch.

    In the backward pass, the own rows of each replica get their gradient times the number of replicas. A loss
    on the result is divided by the number of replicas, like every loss, and then gives the gradient of one
    device. With one replica `x` is returned unchanged.

    Args:
        x: Rows of this replica, `(n, ...)`, with the same n on all replicas.

    Returns:
        Rows with the static shape `(replicas * n, ...)`, or `(None, ...)` if n is dynamic.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return x
    replicas = context.num_replicas_in_sync
    # collectives lose the static shape
    shape = [None if x.shape[0] is None else replicas * x.shape[0], *x.shape[1:]]
    rows = tf.ensure_shape(context.all_gather(tf.stop_gradient(x), axis=0), shape)
    if not x.dtype.is_floating:
        return rows
    own = tf.one_hot(context.replica_id_in_sync_group, replicas, dtype=x.dtype) * replicas
    slope = x - tf.stop_gradient(x)  # exactly 0, with slope 1
    spread = tf.reshape(own, [replicas] + [1] * x.shape.rank) * slope[None]
    return rows + tf.reshape(spread, tf.shape(rows))

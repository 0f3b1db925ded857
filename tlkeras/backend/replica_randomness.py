"""Random numbers that differ between replicas, and random numbers that are equal on all replicas."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.backend import compat

# 2**32 divided by the golden ratio: the seeds of replicas are far apart and do not meet the counter.
SEED_DISTANCE = 0x9E3779B9


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose seeds depend on the replica.

    Its state is the same on every replica, and replica 0 draws the same numbers as a single device, so that a
    checkpoint can be used on any number of replicas. Keras itself gives every replica the same dropout mask.
    """

    def next(self, ordered=True):
        """Returns the next seed, a uint32 tensor of shape (2,)."""
        seed = super().next(ordered)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return seed
        replica = ops.cast(context.replica_id_in_sync_group, seed.dtype)
        distance = ops.cast(SEED_DISTANCE, seed.dtype)
        return seed + ops.stack([replica * distance, ops.zeros_like(replica)])

    @classmethod
    def install(cls, model):
        """Converts every seed generator in `model` to this class. The variables stay the same."""
        for layer in compat.flat_layers(model):
            for generator in compat.seed_generators(layer):
                if type(generator) is keras.random.SeedGenerator:
                    generator.__class__ = cls


def uniform_of_step(shape: tuple[int, ...], seed: int, step) -> tf.Tensor:
    """Returns uniform numbers in 0..1 that depend only on seed and step.

    They are equal on every replica, and in a process that resumes from a checkpoint.

    Args:
        shape: Shape of the numbers.
        seed: Seed, an int32 number.
        step: Number of the step, an integer tensor of shape ().
    """
    return tf.random.stateless_uniform(shape, seed=tf.stack([seed, tf.cast(step, "int32")]))


def uniform_of_rows(rows, width: int, seed: int, step) -> tf.Tensor:
    """Returns uniform numbers in 0..1 for the rows of this replica, float32 `(rows, width)`.

    A row of the whole batch has the same numbers on any number of replicas, if each replica has one run of
    the batch. With rows of two domains in a step, each replica has a run of each of them, and the numbers
    differ from those on one device.

    Args:
        rows: Number of rows of this replica.
        width: Count of numbers for each row.
        seed: Seed, an int32 number.
        step: Number of the step, an integer tensor of shape ().
    """
    context = tf.distribute.get_replica_context()
    replicas, replica = (
        (1, 0) if context is None else (context.num_replicas_in_sync, context.replica_id_in_sync_group)
    )
    return uniform_of_step((rows * replicas, width), seed, step)[rows * replica : rows * (replica + 1)]

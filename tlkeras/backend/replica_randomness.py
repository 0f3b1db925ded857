"""Random numbers that differ between replicas, and some that are alike on all of them."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.backend import compat

# 2**32 divided by the golden ratio: replica seeds lie far apart and never meet the counter.
SEED_DISTANCE = 0x9E3779B9


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator whose seeds depend on the replica that asks.

    Its state is the same on every replica, and replica 0 draws what one device draws; so a checkpoint
    fits any number of replicas. Stock Keras gives every replica the same dropout mask.
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
        """Turns every seed generator in `model` into one of this class; variables stay the same."""
        for layer in compat.flat_layers(model):
            for generator in compat.seed_generators(layer):
                if type(generator) is keras.random.SeedGenerator:
                    generator.__class__ = cls


def uniform_of_step(shape: tuple[int, ...], seed: int, step) -> tf.Tensor:
    """Returns uniform numbers in 0..1 that depend on seed and step alone.

    They are alike on every replica, and in a process that goes on from a checkpoint.

    Args:
        shape: The shape of the numbers.
        seed: An int32 number.
        step: The number of the step, an integer tensor of shape ().
    """
    return tf.random.stateless_uniform(shape, seed=tf.stack([seed, tf.cast(step, "int32")]))

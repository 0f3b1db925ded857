"""The pixels of pretext tasks: rotated pictures and pairs of views.

Like all augmentation, turns and views are a pure function of (seed, epoch, row).
"""

import tensorflow as tf

from tlkeras.config.data import AugmentConfig
from tlkeras.data import random_streams
from tlkeras.data.augment import augment_batch, uniform
from tlkeras.data.pretext import TURNS

PADDING = -1  # the label of a view that only fills the last batch of an evaluation


def drawn_turns(seed: int, epoch: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Returns the quarter turns of rows in an epoch of training, `int32` `(b,)` in 0..3.

    Args:
        seed: Seed of the stage.
        epoch: Number of the epoch, int64 scalar.
        indices: Indices of the rows, int64 `(b,)`.
    """
    u = uniform(seed, epoch, indices, 1, random_streams.TURNS)[:, 0]
    return tf.cast(u * len(TURNS), tf.int32)


def turned(images: tf.Tensor, turns: tf.Tensor) -> tf.Tensor:
    """Turns square pictures `(b, side, side, 3)` counter-clockwise by quarter turns `int32` `(b,)`."""
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), turns, len(TURNS))
    parts = [tf.image.rot90(tf.gather(images, at), k) for k, at in enumerate(places)]
    return tf.ensure_shape(tf.dynamic_stitch(places, parts), images.shape)


def two_views(
    images: tf.Tensor, augment: AugmentConfig, seed: int, epoch: tf.Tensor, indices: tf.Tensor
) -> tf.Tensor:
    """Returns two views of each picture, `float32` `(2 b, h, w, 3)`.

    The two views of a picture are neighbours. Replicas divide a batch in its order, so that each replica
    gets both views.

    Args:
        images: Pictures `(b, h, w, 3)` in 0..255.
        augment: Settings of the augmentation that makes a view.
        seed: Seed of the stage.
        epoch: Number of the epoch, `int64` scalar.
        indices: Indices of the rows, `int64` `(b,)`.
    """
    seeds = (seed, (seed + random_streams.SECOND_VIEW) % 2**31)
    views = [tf.cast(augment_batch(images, augment, s, epoch, indices), tf.float32) for s in seeds]
    return tf.reshape(tf.stack(views, axis=1), (2 * images.shape[0], *images.shape[1:]))

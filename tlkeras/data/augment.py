"""Random augmentation of images, and noise on vectors. Each is a pure function of (seed, epoch, row).

Operations work on a whole batch if they can: flip, crop and rotation are one projective transform. The
random numbers of a row depend only on the seed, the epoch and the index of the row, never on its batch.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from tlkeras.config.data import AugmentConfig
from tlkeras.data import random_streams
from tlkeras.data.randaugment import randaugment

# The columns of a row's random numbers, in 0..1.
_FLIP_H, _FLIP_V, _AREA, _ASPECT, _TOP, _LEFT, _ANGLE = range(7)
_BRIGHTNESS, _CONTRAST, _SATURATION, _HOLE_Y, _HOLE_X = range(7, 12)
_COLUMNS = 12
_ASPECTS = (3 / 4, 4 / 3)


def uniform(
    seed: int | tf.Tensor, epoch: tf.Tensor, indices: tf.Tensor, columns: int, stream: int
) -> tf.Tensor:
    """Draws numbers in [0, 1) for rows. Equal (seed, epoch, index, stream) give equal numbers.

    Args:
        seed: Seed in 0..2^31-1, `int64` if it is a tensor.
        epoch: Number of the epoch, `int64` scalar.
        indices: Indices of the rows, `int64` `(b,)`.
        columns: Count of numbers per row.
        stream: Stream of the purpose; see `random_streams`.

    Returns:
        `float32` `(b, columns)`.
    """
    of_row = _seeds_of_rows(seed, epoch, stream)
    draw = lambda index: tf.random.stateless_uniform([columns], of_row(index))  # noqa: E731
    signature = tf.TensorSpec((columns,), tf.float32)
    return tf.map_fn(draw, indices, fn_output_signature=signature)


def _seeds_of_rows(seed: int | tf.Tensor, epoch: tf.Tensor, stream: int) -> Callable:
    """Returns a function from the index of a row to the seed `(2,)` of its draws."""
    high = tf.convert_to_tensor(seed, tf.int64) * 2**32 + epoch * 8 + stream
    return lambda index: tf.stack([high, index])


def augment_batch(
    images: tf.Tensor, config: AugmentConfig, seed: int, epoch: tf.Tensor, indices: tf.Tensor
) -> tf.Tensor:
    """Augments a batch of images or vectors. Mixup and cutmix are in `mix_batch`.

    Args:
        images: Images `(b, h, w, 3)` in 0..255, `uint8` or `float32`; or vectors `(b, d)`, for which only
            noise is possible.
        config: Settings of the augmentation.
        seed: Seed of the stage.
        epoch: Number of the epoch, or of a fixed view, `int64` scalar.
        indices: Indices of the rows, `int64` `(b,)`.

    Returns:
        The unchanged input if the config changes nothing, else `float32` of the same shape.
    """
    if config.unmixed.is_identity:
        return images
    return _by_graph(_augment, config.unmixed, images, tf.constant(seed, tf.int64), epoch, indices)


def _by_graph(function: Callable, config: Any, *tensors: tf.Tensor):
    """Returns `function(*tensors, config)`, from a graph that all datasets share, because it takes long to
    make.
    """
    return _graph_of(function, config, *(tf.TensorSpec(x.shape, x.dtype) for x in tensors))(*tensors)


@functools.lru_cache(maxsize=32)
def _graph_of(function: Callable, config: Any, *specs: tf.TensorSpec):
    return tf.function(functools.partial(function, config=config), input_signature=specs, autograph=False)


def _augment(images, seed, epoch, indices, config):
    if config.noise:
        quiet = config.model_copy(update={"noise": 0.0})
        if not quiet.is_identity:
            images = _augment(images, seed, epoch, indices, quiet)
        return _add_noise(tf.cast(images, tf.float32), config.noise, seed, epoch, indices)
    u = uniform(seed, epoch, indices, _COLUMNS, random_streams.AUGMENT)
    if config.flip != "none" or config.crop < 1 or config.rotation:
        images = _move(images, config, u)
    images = tf.cast(images, tf.float32)
    if config.randaugment:
        draws = uniform(seed, epoch, indices, 3 * config.randaugment, random_streams.RANDAUGMENT)
        images = randaugment(images, draws, config.randaugment, config.randaugment_magnitude)
    if config.color:
        images = _recolor(images, config.color, u)
    if config.cutout:
        images = _cut_out(images, config.cutout, u)
    return images


def _add_noise(rows, deviation, seed, epoch, indices):
    """Adds Gaussian noise to `float32` rows; images stay in 0..255."""
    of_row, shape = _seeds_of_rows(seed, epoch, random_streams.NOISE), rows.shape[1:]
    draw = lambda index: tf.random.stateless_normal(shape, of_row(index))  # noqa: E731
    noise = tf.map_fn(draw, indices, fn_output_signature=tf.TensorSpec(shape, tf.float32))
    noisy = rows + deviation * noise
    return tf.clip_by_value(noisy, 0.0, 255.0) if len(shape) == 3 else noisy


def _move(images, config, u):
    """Flips, crops and rotates in one resampling."""
    height, width = (float(side) for side in images.shape[1:3])
    # Float64, because the last bit of vectorised float32 functions depends on the position in the batch.
    u = tf.cast(u, tf.float64)
    one = tf.ones_like(u[:, 0])
    scale_y, scale_x, top, left = one, one, 0.0 * one, 0.0 * one
    if config.crop < 1:  # random resized crop (Szegedy et al. 2015, section 6)
        area = config.crop + (1 - config.crop) * u[:, _AREA]
        low, high = (math.log(ratio) for ratio in _ASPECTS)
        aspect = tf.exp(low + (high - low) * u[:, _ASPECT])
        scale_x = tf.minimum(tf.sqrt(area * aspect), 1.0)
        scale_y = tf.minimum(tf.sqrt(area / aspect), 1.0)
        top, left = (1 - scale_y) * u[:, _TOP] * height, (1 - scale_x) * u[:, _LEFT] * width
    mirror_x = config.flip in ("horizontal", "both")
    mirror_y = config.flip in ("vertical", "both")
    sign_x = tf.where((u[:, _FLIP_H] < 0.5) & mirror_x, -one, one)
    sign_y = tf.where((u[:, _FLIP_V] < 0.5) & mirror_y, -one, one)
    angle = (2 * u[:, _ANGLE] - 1) * math.radians(config.rotation)
    # An output pixel is centred, mirrored, rotated and scaled, which gives the input pixel of the window.
    cos, sin = tf.cos(angle), tf.sin(angle)
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    a, b = scale_x * cos * sign_x, -scale_x * sin * sign_y
    d, e = scale_y * sin * sign_x, scale_y * cos * sign_y
    centre_x = left + (scale_x * width - 1) / 2
    centre_y = top + (scale_y * height - 1) / 2
    c = centre_x - a * middle_x - b * middle_y
    f = centre_y - d * middle_x - e * middle_y
    transforms = tf.stack([a, b, c, d, e, f, 0 * one, 0 * one], axis=1)
    return project(images, tf.cast(transforms, tf.float32))


def project(images: tf.Tensor, transforms: tf.Tensor, fill_mode: str = "REFLECT") -> tf.Tensor:
    """Resamples a batch of images bilinearly.

    Args:
        images: Images `(b, height, width, channels)`.
        transforms: Projective transforms `(b, 8)` from output pixels to input pixels.
        fill_mode: Treatment of pixels outside of the image, as in TensorFlow's `ImageProjectiveTransformV3`.

    Returns:
        Images of the same shape, float32.
    """
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=transforms,
        output_shape=images.shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode=fill_mode,
    )
    return tf.ensure_shape(moved, images.shape)


def _recolor(images, strength, u):
    """Changes brightness, contrast and saturation, each by a factor in 1 - strength .. 1 + strength."""
    factor = lambda column: (1 + strength * (2 * u[:, column] - 1))[:, None, None, None]  # noqa: E731
    images = images * factor(_BRIGHTNESS)
    mean = tf.reduce_mean(tf.cast(_grey(images), tf.float64), axis=(1, 2), keepdims=True)
    mean = tf.cast(mean, tf.float32)
    images = mean + (images - mean) * factor(_CONTRAST)
    grey = _grey(images)
    images = grey + (images - grey) * factor(_SATURATION)
    return tf.clip_by_value(images, 0.0, 255.0)


def _grey(images):
    """Returns the luma `(b, h, w, 1)`. The order of its sum does not depend on the batch size."""
    red, green, blue = tf.split(images, 3, axis=-1)
    return 0.2989 * red + 0.587 * green + 0.114 * blue


def _cut_out(images, side, u):
    """Fills a square at a random place with grey (DeVries and Taylor 2017, section 3.3)."""
    inside = _window(images.shape[1:3], u[:, _HOLE_Y], u[:, _HOLE_X], side / 2, side / 2)
    return tf.where(inside, 127.5, images)


def _window(size, centre_y, centre_x, half_y, half_x):
    """Returns a mask `(b, h, w, 1)` of boxes that are given in fractions of the image."""
    y = (tf.range(size[0], dtype=tf.float32) + 0.5) / size[0]
    x = (tf.range(size[1], dtype=tf.float32) + 0.5) / size[1]
    half_y, half_x = (tf.convert_to_tensor(h, tf.float32)[..., None] for h in (half_y, half_x))
    in_y = tf.abs(y[None] - centre_y[:, None]) < half_y
    in_x = tf.abs(x[None] - centre_x[:, None]) < half_x
    return (in_y[:, :, None] & in_x[:, None, :])[..., None]


def mix_batch(
    x: tf.Tensor,
    y: tf.Tensor,
    config: AugmentConfig,
    seed: int,
    epoch: tf.Tensor,
    indices: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mixes each row with its neighbour in the batch: mixup (Zhang et al. 2018) or cutmix (Yun et al. 2019).

    If both are on, one of them is drawn for each row.

    Args:
        x: Inputs, `float32` `(b, ...)`.
        y: Labels, `float32` `(b, k)`: one-hot rows, multi-hot rows or values.
        config: Settings with the alphas of mixup and cutmix.
        seed: Seed of the stage.
        epoch: Number of the epoch, `int64` scalar.
        indices: Indices of the rows, `int64` `(b,)`.

    Returns:
        `(x, y)`, in which row `i` is mixed with row `i - 1`.
    """
    return _by_graph(_mix, config, x, y, tf.constant(seed, tf.int64), epoch, indices)


def _mix(x, y, seed, epoch, indices, config):
    partner_x, partner_y = tf.roll(x, 1, axis=0), tf.roll(y, 1, axis=0)
    u = uniform(seed, epoch, indices, 3, random_streams.MIX)
    by_cutmix = (
        u[:, 0] < 0.5 if config.mixup and config.cutmix else tf.fill(tf.shape(u[:, 0]), bool(config.cutmix))
    )
    share = tf.ones_like(u[:, 0])
    mixed = x
    if config.mixup:
        keep = _beta(config.mixup, seed, epoch, indices, random_streams.MIXUP)
        wide = tf.reshape(keep, (-1,) + (1,) * (len(x.shape) - 1))
        blended = wide * x + (1 - wide) * partner_x
        mixed = tf.where(tf.reshape(by_cutmix, tf.shape(wide)), mixed, blended)
        share = tf.where(by_cutmix, share, keep)
    if config.cutmix:
        hole = tf.sqrt(1 - _beta(config.cutmix, seed, epoch, indices, random_streams.CUTMIX))
        inside = _window(x.shape[1:3], u[:, 1], u[:, 2], hole / 2, hole / 2)
        inside &= by_cutmix[:, None, None, None]
        mixed = tf.where(inside, partner_x, mixed)
        covered = tf.reduce_mean(tf.cast(inside, tf.float32), axis=(1, 2, 3))
        share = tf.where(by_cutmix, 1 - covered, share)
    share = share[:, None]
    return mixed, share * y + (1 - share) * partner_y


def _beta(alpha, seed, epoch, indices, stream):
    """Draws from Beta(alpha, alpha) per row, `float32` `(b,)`."""
    of_row = _seeds_of_rows(seed, epoch, stream)

    def draw(index):
        pair = tf.random.stateless_gamma([2], of_row(index), alpha, dtype=tf.float64)
        # With a small alpha both gammas can be 0; the quotient then counts as 0.
        return tf.cast(tf.math.divide_no_nan(pair[0], tf.reduce_sum(pair)), tf.float32)

    return tf.map_fn(draw, indices, fn_output_signature=tf.TensorSpec((), tf.float32))

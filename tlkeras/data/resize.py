"""Resizing of images. Training, evaluation, prediction and export all use this function."""

import tensorflow as tf

from tlkeras.data.preprocess import HALF


def resize(
    image: tf.Tensor,
    size: tuple[int, int],
    *,
    mode: str = "stretch",
    interpolation: str = "bilinear",
    crop_fraction: float = 1.0,
) -> tf.Tensor:
    """Resizes an image, or a batch of images of one size.

    An image that becomes smaller is antialiased: bilinear resizing takes the mean over the area of each new
    pixel, and bicubic and Lanczos resizing use a wider kernel.

    Args:
        image: Image `(h, w, c)` or images `(b, h, w, c)`, values in 0..255, `uint8` or `float32`.
        size: Wanted height and width.
        mode: `"stretch"` (ignores the aspect ratio), `"crop"` (takes the centre, `crop_fraction` of the
            short side, with the aspect ratio of `size`) or `"pad"` (adds black borders).
        interpolation: Method of `tf.image.resize`.
        crop_fraction: Fraction in 0..1 for `mode="crop"`.

    Returns:
        `(*size, c)` or `(b, *size, c)` with the dtype of the input. `uint8` values are rounded.
    """
    if image.shape[-3:-1] == size and (mode != "crop" or crop_fraction == 1.0):
        return image
    shape = tf.shape(image)
    height, width = shape[-3], shape[-2]
    if mode == "crop":
        image = _centre(image, height, width, size, crop_fraction)
        height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    inner = _fitting(height, width, size) if mode == "pad" else size
    resized = _interpolate(image, height, width, inner, interpolation)
    if mode == "pad":
        resized = tf.image.resize_with_crop_or_pad(resized, *size)
    if image.dtype == tf.uint8:
        if interpolation in ("bicubic", "lanczos3"):  # the others never leave the range of their input
            resized = tf.clip_by_value(resized, 0.0, 255.0)
        resized = tf.cast(tf.round(resized), tf.uint8)
    resized.set_shape((*image.shape[:-3], *size, image.shape[-1]))
    return resized


def _interpolate(image, height, width, size, interpolation):
    """Interpolates to `float32`, with antialiasing if the image becomes smaller."""

    def plain():
        return tf.cast(tf.image.resize(image, size, method=interpolation), tf.float32)

    def antialiased():
        return tf.cast(tf.image.resize(image, size, method=interpolation, antialias=True), tf.float32)

    if interpolation in ("nearest", "area"):
        return plain()
    grows = (height <= size[0]) & (width <= size[1])
    if interpolation != "bilinear":
        return tf.cond(grows, plain, antialiased)
    # The mean over the area is antialiased as well and costs a fifth of the wide kernel.
    shrinks = (height >= size[0]) & (width >= size[1])
    area = lambda: tf.image.resize(image, size, method="area")  # noqa: E731
    return tf.cond(grows, plain, lambda: tf.cond(shrinks, area, antialiased))


def _centre(image, height, width, size, fraction):
    """Cuts out the largest centred window with the aspect ratio of `size`, scaled by `fraction`."""
    tall, wide = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    scale = tf.minimum(tall / size[0], wide / size[1]) * fraction
    rows = tf.clip_by_value(_rounded(size[0] * scale), 1, height)
    columns = tf.clip_by_value(_rounded(size[1] * scale), 1, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[..., top : top + rows, left : left + columns, :]


def _fitting(height, width, size):
    """Returns the largest size with the aspect ratio of the image that fits into `size`."""
    tall, wide = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    scale = tf.minimum(size[0] / tall, size[1] / wide)
    return tf.clip_by_value(_rounded(tf.stack([tall, wide]) * scale), 1, tf.constant(size))


def _rounded(x):
    """Rounds to int32, halves up. `HALF` allows for rounding errors that put a half slightly below."""
    return tf.cast(tf.floor(x + HALF), tf.int32)

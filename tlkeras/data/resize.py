"""The one way an image gets its size: in training, evaluation, prediction and export alike."""

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

    Antialiased where the image shrinks, so that a large photograph does not turn into noise: bilinear
    resizing then takes the mean over the area of each new pixel, bicubic and Lanczos widen their kernel.

    Args:
        image: `(h, w, c)` or `(b, h, w, c)`, values in 0..255, `uint8` or `float32`.
        size: Height and width wanted.
        mode: `"stretch"` to the size; `"crop"` the centre, `crop_fraction` of the short side in the
            shape of `size`; `"pad"` with black to the shape of `size`.
        interpolation: A method of `tf.image.resize`.
        crop_fraction: In 0..1, for `mode="crop"`.

    Returns:
        `(*size, c)` or `(b, *size, c)` of the input's dtype; `uint8` is rounded.
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
    """Interpolates to `float32`; where an image shrinks, every one of its pixels has a share."""

    def plain():
        return tf.cast(tf.image.resize(image, size, method=interpolation), tf.float32)

    def antialiased():
        return tf.cast(tf.image.resize(image, size, method=interpolation, antialias=True), tf.float32)

    if interpolation in ("nearest", "area"):
        return plain()
    grows = (height <= size[0]) & (width <= size[1])
    if interpolation != "bilinear":
        return tf.cond(grows, plain, antialiased)
    # The mean over the area is antialiased as well, at a fifth of the cost of the wide kernel.
    shrinks = (height >= size[0]) & (width >= size[1])
    area = lambda: tf.image.resize(image, size, method="area")  # noqa: E731
    return tf.cond(grows, plain, lambda: tf.cond(shrinks, area, antialiased))


def _centre(image, height, width, size, fraction):
    """Cuts out the largest centred window of the shape of `size`, scaled by `fraction`."""
    tall, wide = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    scale = tf.minimum(tall / size[0], wide / size[1]) * fraction
    rows = tf.clip_by_value(_rounded(size[0] * scale), 1, height)
    columns = tf.clip_by_value(_rounded(size[1] * scale), 1, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[..., top : top + rows, left : left + columns, :]


def _fitting(height, width, size):
    """Returns the largest size of the image's own shape that fits into `size`."""
    tall, wide = tf.cast(height, tf.float64), tf.cast(width, tf.float64)
    scale = tf.minimum(size[0] / tall, size[1] / wide)
    return tf.clip_by_value(_rounded(tf.stack([tall, wide]) * scale), 1, tf.constant(size))


def _rounded(x):
    """Rounds to int32, halves up: a graph that divides in another order may put one a hair below."""
    return tf.cast(tf.floor(x + HALF), tf.int32)

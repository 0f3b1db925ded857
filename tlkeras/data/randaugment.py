"""RandAugment (Cubuk et al. 2020): a few random operations per image, of one magnitude."""

import tensorflow as tf


def randaugment(images: tf.Tensor, draws: tf.Tensor, operations: int, magnitude: float) -> tf.Tensor:
    """Applies `operations` operations, drawn anew for every image.

    The pixels differ slightly from torchvision's `RandAugment`. Pictures are sheared about their centre, not
    their corner. Shifts are not rounded to whole pixels. Tables of `equalize` and bits of `posterize` are
    rounded down.

    Args:
        images: Images, `float32` `(b, h, w, 3)` in 0..255.
        draws: Random numbers, `float32` `(b, 3 * operations)` in [0, 1). The three numbers of an operation
            choose the operation and its sign; the last is not used.
        operations: Number of operations per image.
        magnitude: Strength of the operations in 0..10.

    Returns:
        `float32` `(b, h, w, 3)` in 0..255.
    """
    strength = magnitude / 10

    def one(item):
        image, numbers = item
        for k in range(operations):
            which = tf.cast(numbers[3 * k] * len(_OPERATIONS), tf.int32)
            sign = tf.where(numbers[3 * k + 1] < 0.5, -1.0, 1.0)
            branches = [
                lambda op=op, image=image, sign=sign: tf.ensure_shape(
                    op(image, strength, sign), images.shape[1:]
                )
                for op in _OPERATIONS
            ]
            image = tf.switch_case(which, branches)
        return image

    signature = tf.TensorSpec(images.shape[1:], tf.float32)
    return tf.map_fn(one, (images, draws), fn_output_signature=signature)


def _identity(image, strength, sign):
    return image


def _autocontrast(image, strength, sign):
    low = tf.reduce_min(image, axis=(0, 1))
    high = tf.reduce_max(image, axis=(0, 1))
    stretched = (image - low) * 255.0 / tf.maximum(high - low, 1e-6)
    return tf.where(high > low, stretched, image)


def _equalize(image, strength, sign):
    levels = tf.cast(image, tf.int32)
    channels = []
    for c in range(3):
        channel = levels[..., c]
        counts = tf.math.bincount(tf.reshape(channel, [-1]), minlength=256, maxlength=256)
        below = tf.cumsum(counts)
        first = tf.boolean_mask(below, counts > 0)[0]
        span = tf.maximum(below[-1] - first, 1)
        table = tf.clip_by_value((below - first) * 255 // span, 0, 255)
        flat = tf.equal(below[-1], first)
        channels.append(tf.where(flat, channel, tf.gather(table, channel)))
    return tf.cast(tf.stack(channels, axis=-1), tf.float32)


def _solarize(image, strength, sign):
    return tf.where(image >= 256 * (1 - strength), 255.0 - image, image)


def _posterize(image, strength, sign):
    step = float(2 ** int(4 * strength))
    return tf.floor(image / step) * step


def _blend(low, image, factor):
    return tf.clip_by_value(low + (image - low) * factor, 0.0, 255.0)


def _color(image, strength, sign):
    return _blend(tf.image.rgb_to_grayscale(image), image, 1 + 0.9 * strength * sign)


def _contrast(image, strength, sign):
    mean = tf.reduce_mean(tf.image.rgb_to_grayscale(image))
    return _blend(mean, image, 1 + 0.9 * strength * sign)


def _brightness(image, strength, sign):
    return _blend(0.0, image, 1 + 0.9 * strength * sign)


def _sharpness(image, strength, sign):
    kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    kernel = tf.tile(kernel[..., None, None], [1, 1, 3, 1])
    padded = tf.pad(image, [[1, 1], [1, 1], [0, 0]], "SYMMETRIC")[None]
    smooth = tf.nn.depthwise_conv2d(padded, kernel, [1, 1, 1, 1], "VALID")[0]
    return _blend(smooth, image, 1 + 0.9 * strength * sign)


def _affine(image, a, b, c, d, e, f):
    """Resamples by a map from output to input about the image's centre. The outside is grey."""
    x, y = (image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2
    row = tf.stack([a, b, c + x - a * x - b * y, d, e, f + y - d * x - e * y, 0.0, 0.0])
    moved = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[None],
        transforms=row[None],
        output_shape=image.shape[:2],
        fill_value=127.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return moved[0]


def _rotate(image, strength, sign):
    angle = sign * strength * 30 * 3.141592653589793 / 180
    return _affine(image, tf.cos(angle), -tf.sin(angle), 0.0, tf.sin(angle), tf.cos(angle), 0.0)


def _shear_x(image, strength, sign):
    return _affine(image, 1.0, sign * strength * 0.3, 0.0, 0.0, 1.0, 0.0)


def _shear_y(image, strength, sign):
    return _affine(image, 1.0, 0.0, 0.0, sign * strength * 0.3, 1.0, 0.0)


def _translate_x(image, strength, sign):
    return _affine(image, 1.0, 0.0, sign * strength * 0.45 * image.shape[1], 0.0, 1.0, 0.0)


def _translate_y(image, strength, sign):
    return _affine(image, 1.0, 0.0, 0.0, 0.0, 1.0, sign * strength * 0.45 * image.shape[0])


_OPERATIONS = (
    _identity,
    _autocontrast,
    _equalize,
    _rotate,
    _solarize,
    _color,
    _posterize,
    _contrast,
    _brightness,
    _sharpness,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)

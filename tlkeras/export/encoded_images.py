"""Decodes images inside a graph. The results for `odd_pictures` agree with the reader of `predict`."""

import tensorflow as tf

from tlkeras.data.preprocess import JPEG_RATIOS
from tlkeras.data.reading import PixelSpec

_ORIENTATION = 0x0112
_HEAD_BYTES = 65536  # an EXIF block ends within the first segment of a JPEG


def decode_and_resize(encoded: tf.Tensor, spec: PixelSpec) -> tf.Tensor:
    """Decodes and resizes JPEG, PNG, BMP, GIF (first frame) and, if TensorFlow supports it, WebP.

    As in training, the EXIF orientation of JPEG, PNG and WebP is applied, transparent PNGs are laid on
    white, and 16-bit grey is rounded to 8 bits. Three cases differ: TensorFlow cannot decode TIFF, reads a
    BMP with a palette as grey, and ignores an orientation in XMP.

    Args:
        encoded: Contents of image files, strings `(b,)`.
        spec: Size, resizing and cropping of the images.

    Returns:
        Pixels, float32 `(b, height, width, 3)` in 0..255.
    """
    signature = tf.TensorSpec((*spec.size, 3), tf.uint8)
    pixels = tf.map_fn(
        lambda content: spec.resize(_decode(content, spec)), encoded, fn_output_signature=signature
    )
    return tf.cast(pixels, tf.float32)


def _decode(content: tf.Tensor, spec: PixelSpec) -> tf.Tensor:
    is_png = tf.equal(tf.strings.substr(content, 0, 4), b"\x89PNG")
    is_webp = tf.equal(tf.strings.substr(content, 8, 4), b"WEBP")
    decode = lambda: tf.io.decode_image(content, channels=3, expand_animations=False)  # noqa: E731
    image = tf.case(
        [
            (tf.io.is_jpeg(content), lambda: _jpeg(content, spec)),
            (is_png, lambda: _upright(_png(content), _orientation_after(b"eXIf", _bytes(content)))),
            (is_webp, lambda: _upright(decode(), _orientation_of_webp(content))),
        ],
        default=decode,
    )
    image.set_shape((None, None, 3))
    return image


def _jpeg(content, spec):
    orientation = exif_orientation(content)
    shape = tf.io.extract_jpeg_shape(content)
    # Training decodes upright JPEGs at a fraction of their size, and turned ones and CMYK with Pillow.
    plain = (orientation == 1) & (shape[2] < 4)
    branches = [_jpeg_decoder(content, ratio) for ratio in JPEG_RATIOS]
    image = tf.switch_case(tf.where(plain, _ratio_index(shape, spec), 0), branches)
    image.set_shape((None, None, 3))
    return _upright(image, orientation)


def _jpeg_decoder(content, ratio):
    return lambda: tf.io.decode_jpeg(content, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")


def _ratio_index(shape, spec: PixelSpec):
    """Returns the index in `JPEG_RATIOS` that training uses for this image shape. See `data.preprocess`."""
    if spec.interpolation not in ("bilinear", "area"):
        return tf.constant(0)
    kept = tf.cast(shape[:2], tf.float64) * (spec.crop_fraction if spec.mode == "crop" else 1.0)
    wanted = tf.constant([[ratio * side for side in spec.size] for ratio in JPEG_RATIOS[1:]], tf.float64)
    return tf.reduce_sum(tf.cast(tf.reduce_all(wanted <= kept, axis=1), tf.int32))


def _png(content):
    head = _head(content)
    depth, color_type = head[24], head[25]
    # An image has an alpha channel, or a palette with transparent colours. For a palette of fewer than 8
    # bits without alpha, the decoder would return wrong alpha values.
    transparent = (color_type == 4) | (color_type == 6) | (_position(head, b"tRNS") > 0)
    return tf.case(
        [
            ((depth == 16) & (color_type == 0), lambda: _from_16_bits(content)),
            (transparent, lambda: _on_white(content)),
        ],
        default=lambda: tf.io.decode_png(content, channels=3),
    )


def _from_16_bits(content):
    values = tf.cast(tf.io.decode_png(content, channels=1, dtype=tf.uint16), tf.int32)
    return tf.image.grayscale_to_rgb(tf.cast((values + 128) // 257, tf.uint8))


def _on_white(content):
    image = tf.cast(tf.io.decode_png(content, channels=4), tf.float32)
    color, alpha = image[..., :3], image[..., 3:] / 255.0
    return tf.cast(tf.round(color * alpha + 255.0 * (1.0 - alpha)), tf.uint8)


def exif_orientation(content: tf.Tensor) -> tf.Tensor:
    """Returns the EXIF orientation (1..8) of an encoded JPEG, int32, or 1 if it has none."""
    return _orientation_after(b"Exif\0\0", _head(content))


def _orientation_of_webp(content):
    """Reads the chunk `EXIF`: its name, its size (4 bytes), and the EXIF block, often begun as in a JPEG."""
    content = _bytes(content)
    size = tf.size(content)
    start = _position(content, b"EXIF") + 4
    as_in_jpeg = content[tf.minimum(start, size - 1)] == ord("E")
    start += tf.where(as_in_jpeg, len(b"Exif\0\0"), 0)
    # The header of the extended format says whether there is such a chunk.
    has_chunk = (size > 30) & tf.reduce_all(content[12:16] == list(b"VP8X")) & (content[20] // 8 % 2 == 1)
    return tf.cond(has_chunk, lambda: _orientation_tag(content, start), lambda: tf.constant(1))


def _orientation_after(mark: bytes, content):
    start = _position(content, mark)
    return tf.cond(start > 0, lambda: _orientation_tag(content, start), lambda: tf.constant(1))


def _head(content):
    return _bytes(tf.strings.substr(content, 0, _HEAD_BYTES))


def _bytes(content):
    return tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32)


def _position(head, word: bytes):
    """Returns the position after the first `word` in `head`, or 0 if it is not there."""
    starts = tf.maximum(tf.size(head) - len(word) + 1, 0)
    found = tf.ones((starts,), tf.bool)
    for i, byte in enumerate(word):
        found &= head[i : starts + i] == byte
    return tf.cond(
        tf.reduce_any(found),
        lambda: tf.argmax(found, output_type=tf.int32) + len(word),
        lambda: tf.constant(0),
    )


def _orientation_tag(head, tiff):
    """Reads the orientation from the TIFF block that begins at `tiff`. Returns 1 if the block is invalid."""
    last = tf.size(head) - 1
    little = head[tf.minimum(tiff, last)] == ord("I")

    def number(position, width):
        offsets = tf.range(width)
        shifts = 8 * tf.where(little, offsets, width - 1 - offsets)
        at = tf.clip_by_value(position[..., None] + offsets, 0, last)
        return tf.reduce_sum(tf.bitwise.left_shift(tf.gather(head, at), shifts), axis=-1)

    directory = tiff + tf.clip_by_value(number(tiff + 4, 4), 0, last)
    entries = directory + 2 + 12 * tf.range(tf.clip_by_value(number(directory, 2), 0, 256))
    matches = number(entries, 2) == _ORIENTATION
    value = tf.reduce_sum(tf.where(matches, number(entries + 8, 2), 0))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _upright(image, orientation):
    across = lambda: tf.transpose(image, (1, 0, 2))  # noqa: E731
    left_right, up_down = tf.image.flip_left_right, tf.image.flip_up_down
    turned = tf.switch_case(
        orientation - 1,
        [
            lambda: image,
            lambda: left_right(image),
            lambda: left_right(up_down(image)),
            lambda: up_down(image),
            across,
            lambda: left_right(across()),
            lambda: left_right(up_down(across())),
            lambda: up_down(across()),
        ],
    )
    turned.set_shape((None, None, 3))
    return turned

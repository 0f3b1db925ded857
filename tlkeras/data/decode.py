"""Decoding of image files to RGB pixels."""

import io

import numpy as np

from tlkeras.config.data import MAX_PIXELS
from tlkeras.data.image_header import NO_IMAGE, image_format, too_large
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")
preprocess = LateModule("tlkeras.data.preprocess")
tf = LateModule("tensorflow")

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")


class UnreadableImage(Exception):
    """An image cannot be decoded. The message continues a sentence that begins with the image's name."""


def decode(content: bytes, max_pixels: int = MAX_PIXELS, **settings) -> np.ndarray:
    """Decodes an image with Pillow.

    The formats are JPEG, PNG, BMP, GIF, WebP and TIFF; only the first frame or page is read. Grey,
    palette, 1-bit, CMYK and 16-bit values (scaled to 8 bits) become RGB. Transparent pixels are composited
    on white. The EXIF orientation is applied.

    Args:
        content: Bytes of the file.
        max_pixels: Largest allowed number of pixels. Larger images are refused before they are decoded.
        settings: Settings of `preprocess.read_picture`. If given, a JPEG may be decoded at a smaller size.

    Returns:
        `uint8` array `(height, width, 3)`.

    Raises:
        UnreadableImage: The bytes are not an image, are truncated, or hold too many pixels.
    """
    if not content:
        raise UnreadableImage("is empty (0 bytes)")
    if not image_format(content[:16]):
        raise UnreadableImage(NO_IMAGE)
    _leave_the_limit_to_us(max_pixels)
    try:
        with PIL.Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if reason := too_large(image.width, image.height, max_pixels):
                raise UnreadableImage(reason)
            if image.mode == "F":
                raise UnreadableImage(preprocess.NO_WHITE)
            if settings:
                preprocess.shrink_jpeg(image, settings)
            image.load()
            return preprocess.rgb(image)
    except UnreadableImage:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"is too large (data.max_pixels={max_pixels} can be raised; {error})") from None
    except MemoryError:
        raise UnreadableImage("does not fit in memory") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"is damaged or truncated ({reason[:120]})") from None


def _leave_the_limit_to_us(max_pixels: int) -> None:
    """Raises Pillow's own limit, which is global to the process, to `max_pixels`. It is never lowered."""
    if PIL.Image.MAX_IMAGE_PIXELS is not None:
        PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS, max_pixels)


def decode_plain(content: bytes, *, ratio: int = 1) -> np.ndarray:
    """Decodes a plain JPEG or PNG with TensorFlow, as training does.

    Args:
        content: Bytes of the file.
        ratio: Divisor of the size at which a JPEG is decoded: 1, 2, 4 or 8.

    Raises:
        UnreadableImage: The pixels are damaged.
    """
    try:
        return tf.io.decode_jpeg(content, 3, ratio, dct_method="INTEGER_ACCURATE").numpy()
    except tf.errors.InvalidArgumentError:
        raise UnreadableImage("is damaged or truncated") from None

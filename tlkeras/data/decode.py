"""Encoded images of every kind to RGB pixels."""

import io

import numpy as np

from tlkeras.config.data import MAX_PIXELS
from tlkeras.data.image_header import NO_IMAGE, image_format, too_large

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF")


class UnreadableImage(Exception):
    """Why an image cannot be decoded, as the end of a sentence that begins with its name."""


def decode(content: bytes, max_pixels: int = MAX_PIXELS, **settings) -> np.ndarray:
    """Decodes an image with Pillow.

    JPEG, PNG, BMP, GIF, WebP and TIFF (the first frame or page); grey, palette, 1-bit, CMYK and
    16-bit values (scaled to 8 bits) become RGB, transparency is composited on white, and the EXIF
    orientation is applied.

    Args:
        content: The bytes of the file.
        max_pixels: Larger images are refused before they are decoded.
        settings: As in `preprocess.read_picture`; with them a JPEG may shrink while it is decoded.

    Returns:
        `uint8` array `(height, width, 3)`.

    Raises:
        UnreadableImage: With the reason, where the bytes are no image, cut short, or too large.
    """
    from PIL import Image

    from tlkeras.data.preprocess import NO_WHITE, rgb, shrink_jpeg

    if not content:
        raise UnreadableImage("is empty (0 bytes)")
    if not image_format(content[:16]):
        raise UnreadableImage(NO_IMAGE)
    _leave_the_limit_to_us(max_pixels)
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if reason := too_large(image.width, image.height, max_pixels):
                raise UnreadableImage(reason)
            if image.mode == "F":
                raise UnreadableImage(NO_WHITE)
            if settings:
                shrink_jpeg(image, settings)
            image.load()
            return rgb(image)
    except UnreadableImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"is too large (data.max_pixels={max_pixels} can be raised; {error})") from None
    except MemoryError:
        raise UnreadableImage("does not fit in memory") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"is damaged or truncated ({reason[:120]})") from None


def _leave_the_limit_to_us(max_pixels: int) -> None:
    """Raises Pillow's own limit, which belongs to the process, to ours; it is not lowered."""
    from PIL import Image

    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, max_pixels)


def decode_plain(content: bytes, *, ratio: int = 1) -> np.ndarray:
    """Decodes a plain JPEG or PNG as training does, with TensorFlow; a JPEG shrunk by `ratio`.

    Raises:
        UnreadableImage: Where the pixels are damaged.
    """
    import tensorflow as tf

    try:
        return tf.io.decode_jpeg(content, 3, ratio, dct_method="INTEGER_ACCURATE").numpy()
    except tf.errors.InvalidArgumentError:
        raise UnreadableImage("is damaged or truncated") from None

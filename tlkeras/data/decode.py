"""Encoded images of every kind to RGB pixels."""

import io

import numpy as np

from tlkeras.data.scan import MAX_PIXELS, image_format


class UnreadableImage(Exception):
    """Why an image cannot be decoded, as the end of a sentence that begins with its name."""


def decode(content: bytes, **settings) -> np.ndarray:
    """Decodes an image with Pillow.

    JPEG, PNG, BMP, GIF and WebP (the first frame of an animation); grey, palette, 1-bit, CMYK and
    16-bit values (scaled to 8 bits) become RGB, transparency is composited on white, and the EXIF
    orientation is applied.

    Args:
        content: The bytes of the file.
        settings: As in `preprocess.read_picture`; with them a JPEG may shrink while it is decoded.

    Returns:
        `uint8` array `(height, width, 3)`.

    Raises:
        UnreadableImage: With the reason, where the bytes are no image, cut short, or too large.
    """
    from PIL import Image

    from tlkeras.data.preprocess import rgb, shrink_jpeg

    if not content:
        raise UnreadableImage("is empty (0 bytes)")
    if not image_format(content[:16]):
        raise UnreadableImage("is not a JPEG, PNG, BMP, GIF or WebP image")
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "BMP", "GIF", "WEBP")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
            if settings:
                shrink_jpeg(image, settings)
            image.load()
            return rgb(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImage(f"is too large ({error}; a decompression bomb?)") from None
    except MemoryError:
        raise UnreadableImage("does not fit in memory") from None
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImage(f"is damaged or truncated ({reason[:120]})") from None


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

"""Makes pictures that are easy to read wrongly. On them an export must agree with `predict`."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

_ORIENTATION = 0x0112  # EXIF


def odd_pictures(images: np.ndarray, count: int | None = None) -> list[tuple[str, bytes]]:
    """Makes encoded pictures from pixels, with one kind after another, each from the next image.

    Args:
        images: Pixels `(n, height, width, 3)` in 0..255.
        count: Number of pictures. None makes one of each kind.

    Returns:
        Kind and file content of each picture.
    """
    kinds, made = list(_KINDS.items()), []
    for number in range(len(kinds) if count is None else count):
        name, (shape, encode) = kinds[number % len(kinds)]
        pixels = np.clip(np.rint(images[number % len(images)]), 0, 255).astype(np.uint8)
        sides = round(pixels.shape[1] * shape[0]), round(pixels.shape[0] * shape[1])
        image = Image.fromarray(pixels).resize(sides, Image.Resampling.BICUBIC)
        made.append((name, encode(image, number)))
    return made


def _saved(image: Image.Image, kind: str, **how) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def _with_alpha(image, number):
    ramp = np.linspace(0, 255, image.width * image.height).reshape(image.height, image.width)
    image.putalpha(Image.fromarray(ramp.astype(np.uint8)))
    return _saved(image, "PNG")


def _turned(kind: str, **how):
    def encode(image, number):
        exif = Image.Exif()
        exif[_ORIENTATION] = 2 + number % 7
        return _saved(image, kind, exif=exif, **how)

    return encode


def _sixteen_bit(image, number):
    grey = np.asarray(image.convert("L")).astype(np.int64) * 257
    fine = np.arange(grey.size).reshape(grey.shape) * 37 % 257 - 128  # details that 8 bits cannot hold
    return _saved(Image.fromarray((grey + fine).clip(0, 65535).astype(np.uint16)), "PNG")


def _see_through_palette(image, number):
    return _saved(image.quantize(64), "PNG", transparency=number % 64)


# For each kind: its width and height relative to the model's size, and the function that writes it.
_KINDS: dict[str, tuple[tuple[float, float], Callable]] = {
    "alpha": ((1.5, 1.5), _with_alpha),
    "EXIF orientation": ((2.6, 1.3), _turned("JPEG", quality=90)),
    "EXIF orientation in PNG": ((2.2, 1.2), _turned("PNG")),
    "EXIF orientation in WebP": ((1.1, 2.3), _turned("WEBP", lossless=True)),
    "CMYK": ((1.4, 1.7), lambda image, _: _saved(image.convert("CMYK"), "JPEG", quality=90)),
    "16 bit": ((1.2, 1.6), _sixteen_bit),
    "grey": ((1.6, 1.2), lambda image, _: _saved(image.convert("L"), "PNG")),
    "2:1": ((2.0, 1.0), lambda image, _: _saved(image, "PNG")),
    "1:2, large": ((2.5, 5.0), lambda image, _: _saved(image, "JPEG", quality=90)),
    "grey with alpha": ((0.7, 1.4), lambda image, _: _saved(image.convert("LA"), "PNG")),
    "see-through palette": ((1.3, 1.1), _see_through_palette),
    "small": ((0.6, 0.3), lambda image, _: _saved(image, "WEBP", lossless=True)),
}

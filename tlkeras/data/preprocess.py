"""Reads a picture as `predict` does, with Pillow and NumPy alone.

    from preprocess import read_picture

    pixels = read_picture("picture.jpg")  # float32 (height, width, 3) in 0..255

Every picture becomes upright RGB. Transparent pixels are composited on white, and the EXIF orientation is
applied. CMYK, palettes and grey become RGB, and 16 bits become 8. Only the first frame of an animation is
read. The picture is then resized as `SETTINGS` says. Scaling and normalization are parts of the model.

This is tlkeras/data/preprocess.py (Apache-2.0). `tlkeras export` writes it with the settings of the run.
"""

import io

import numpy as np
from PIL import Image, ImageOps

BLACK = 0  # pixels of a black picture; more than 0 beside other inputs, because zeros are a missing picture
SETTINGS = {"size": (224, 224), "mode": "stretch", "interpolation": "bilinear", "crop_fraction": 1.0}

NO_WHITE = "holds floating-point numbers, whose range for white is not known"
JPEG_RATIOS = (1, 2, 4, 8)  # divisors of the size at which a decoder can decode
HALF = 0.5 + 1e-6  # rounds halves up, and also values that rounding errors have put slightly below a half
_ORIENTATION = 0x0112  # EXIF
_RADIUS = {"bilinear": 1, "bicubic": 2, "lanczos3": 3}
_BICUBIC_STEPS = 1024  # TensorFlow takes the kernel from a table


def read_picture(picture, settings=SETTINGS):
    """Reads one picture.

    Args:
        picture: Path of a file, or the bytes of a file.
        settings: Dict of `size` (height, width), `mode`, `interpolation` and `crop_fraction`.

    Returns:
        float32 array `(height, width, 3)`, whole numbers in 0..255.
    """
    file = io.BytesIO(picture) if isinstance(picture, bytes) else picture
    with Image.open(file) as image:
        shrink_jpeg(image, settings)
        pixels = resized(rgb(image), **settings).astype(np.float32)
    return pixels if pixels.any() else np.full_like(pixels, BLACK)


def rgb(image):
    """Returns an opened Pillow image as upright RGB pixels, uint8 `(height, width, 3)`."""
    if image.mode == "F":
        raise ValueError(NO_WHITE)
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return np.asarray(image.convert("RGB"))


def shrink_jpeg(image, settings):
    """Lets Pillow decode an upright JPEG at a smaller size. MPO files of phones contain several JPEGs."""
    plain = image.format in ("JPEG", "MPO") and image.mode in ("L", "RGB")
    if plain and image.getexif().get(_ORIENTATION, 1) == 1:
        ratio = jpeg_ratio(image.height, image.width, **settings)
        image.draft(None, (image.width // ratio, image.height // ratio))


def jpeg_ratio(height, width, *, size, mode, interpolation, crop_fraction):
    """Returns the largest of `JPEG_RATIOS` at which a decoded JPEG is not smaller than the wanted size.

    The decoder then skips high frequencies that resizing would remove anyway, which halves the time.

    Args:
        height: Height of the stored picture in pixels.
        width: Width of the stored picture in pixels.
        size: Wanted height and width.
        mode: Way of resizing: `stretch`, `crop` or `pad`.
        interpolation: Interpolation of the resizing.
        crop_fraction: Fraction of the short side that `crop` keeps.
    """
    if interpolation not in ("bilinear", "area"):
        return 1
    kept = crop_fraction if mode == "crop" else 1.0
    fits = [r for r in JPEG_RATIOS if r * size[0] <= height * kept and r * size[1] <= width * kept]
    return max(fits, default=1)


def resized(pixels, *, size, mode, interpolation, crop_fraction):
    """Resizes pixels as TensorFlow does.

    Args:
        pixels: Picture, uint8 `(height, width, 3)`.
        size: Wanted height and width.
        mode: `stretch` (to the size), `crop` (the centre) or `pad` (with black).
        interpolation: `bilinear`, `bicubic`, `lanczos3`, `area` or `nearest`, with antialiasing for a
            smaller size.
        crop_fraction: Fraction of the short side that `crop` keeps.

    Returns:
        uint8 `(*size, 3)`.
    """
    if mode == "crop":
        pixels = _centre(pixels, size, crop_fraction)
    inner = _fitting(pixels.shape[:2], size) if mode == "pad" else size
    values = np.clip(np.rint(_interpolated(pixels, inner, interpolation)), 0, 255).astype(np.uint8)
    if inner == size:
        return values
    padded = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = values
    return padded


def _centre(pixels, size, fraction):
    """Cuts out the largest centred window of the shape of `size`, scaled by `fraction`."""
    sides = np.array(pixels.shape[:2], np.float64)
    scale = (sides / size).min() * fraction
    rows, columns = np.clip(np.floor(np.array(size) * scale + HALF), 1, sides).astype(int)
    top, left = (pixels.shape[0] - rows) // 2, (pixels.shape[1] - columns) // 2
    return pixels[top : top + rows, left : left + columns]


def _fitting(sides, size):
    """Returns the largest size with the aspect ratio of the picture that fits into `size`."""
    sides = np.array(sides, np.float64)
    fitted = np.floor(sides * (size / sides).min() + HALF)
    return tuple(int(side) for side in np.clip(fitted, 1, size))


def _interpolated(pixels, size, interpolation):
    """Returns float32 `(*size, 3)`. Each new row is a weighted sum of old rows, and each column likewise."""
    height, width = pixels.shape[:2]
    grows, shrinks = height <= size[0] and width <= size[1], height >= size[0] and width >= size[1]
    if interpolation == "nearest":
        return pixels[_nearest(height, size[0])][:, _nearest(width, size[1])]
    if interpolation == "area" or (interpolation == "bilinear" and shrinks and not grows):
        # The mean over the area of each new pixel is antialiased as well.
        sums = _along(_along(pixels, 1, *_areas(width, size[1])), 0, *_areas(height, size[0]))
        return sums * np.float32(1 / (_scale(height, size[0]) * _scale(width, size[1])))
    if interpolation == "bilinear" and grows:
        return _between(_between(pixels, 1, size[1]), 0, size[0])
    if interpolation == "bicubic" and grows:
        return _along(_along(pixels, 1, *_bicubic(width, size[1])), 0, *_bicubic(height, size[0]))
    wide = not grows
    by_rows = _along(pixels, 0, *_kernel(height, size[0], interpolation, wide))
    return _along(by_rows, 1, *_kernel(width, size[1], interpolation, wide))


def _along(values, axis, starts, weights):
    """Returns weighted sums along an axis. New place `i` sums the old places from `starts[i]` on."""
    values = np.moveaxis(values, axis, 0)
    total = np.zeros((len(starts), *values.shape[1:]), np.float32)
    for k in range(weights.shape[1]):
        places = np.clip(starts + k, 0, len(values) - 1)
        total += values[places] * weights[:, k].reshape(-1, *[1] * (values.ndim - 1))
    return np.moveaxis(total, 0, axis)


def _scale(old, new):
    return np.float32(old) / np.float32(new)


def _nearest(old, new):
    places = np.floor((np.arange(new, dtype=np.float32) + np.float32(0.5)) * _scale(old, new))
    return np.minimum(places.astype(int), old - 1)


def _between(values, axis, new):
    """Interpolates linearly between the two nearest old places."""
    values = np.moveaxis(values, axis, 0).astype(np.float32)
    half = np.float32(0.5)
    places = (np.arange(new, dtype=np.float32) + half) * _scale(len(values), new) - half
    below = np.floor(places)
    share = (places - below).reshape(-1, *[1] * (values.ndim - 1))
    upper = np.minimum(np.ceil(places).astype(int), len(values) - 1)
    lower = np.minimum(np.maximum(below.astype(int), 0), upper)
    between = values[lower] + (values[upper] - values[lower]) * share
    return np.moveaxis(between, 0, axis)


def _areas(old, new):
    """Weights old places by their overlap with each new place."""
    scale = _scale(old, new)
    begin = np.arange(new, dtype=np.float32) * scale
    end = np.arange(1, new + 1, dtype=np.float32) * scale
    starts = np.floor(begin).astype(int)
    places = starts[:, None] + np.arange((np.ceil(end).astype(int) - starts).max())
    begin, end, places = begin[:, None], end[:, None], places.astype(np.float32)
    weights = np.minimum(places + 1, end) - np.maximum(places, begin)
    weights = np.where((places <= begin) & (places + 1 >= end), scale, weights)  # it lies below one place
    return starts, np.maximum(weights, 0)


def _bicubic(old, new):
    half = np.float32(0.5)
    places = (np.arange(new, dtype=np.float32) + half) * _scale(old, new) - half
    below = np.floor(places)
    share = np.rint((places - below) * np.float32(_BICUBIC_STEPS)) / np.float32(_BICUBIC_STEPS)
    starts = below.astype(int) - 1
    weights = _keys(np.abs(share[:, None] + np.float32(1) - np.arange(4, dtype=np.float32)))
    inside = (starts[:, None] + np.arange(4) >= 0) & (starts[:, None] + np.arange(4) < old)
    return starts, _summing_to_one(weights * inside)


def _kernel(old, new, interpolation, wide):
    """Weights old places by a kernel around each new place. With `wide` it is as wide as a new pixel."""
    one, half = np.float32(1), np.float32(0.5)
    inverse = one / (np.float32(new) / np.float32(old))
    stretch = np.maximum(inverse, one) if wide else one
    reach = np.float32(_RADIUS[interpolation]) * stretch
    centres = (np.arange(new, dtype=np.float32) + half) * inverse
    first = np.clip(np.ceil(centres - reach - half), 0, old - 1).astype(int)
    last = np.clip(np.floor(centres + reach - half), 0, old - 1).astype(int)
    places = first[:, None] + np.arange((last - first).max() + 1)
    distances = np.abs((places.astype(np.float32) + half - centres[:, None]) * (one / stretch))
    weights = _KERNELS[interpolation](distances) * (places <= last[:, None])
    return first, _summing_to_one(weights)


def _summing_to_one(weights):
    return (weights * (np.float32(1) / weights.sum(axis=1, keepdims=True))).astype(np.float32)


def _triangle(x):
    return np.maximum(0, 1 - x)


def _keys(x):
    """Cubic convolution (Keys 1981, with a = -1/2)."""
    near, far = ((1.5 * x - 2.5) * x) * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def _lanczos3(x):
    x = np.where(x == 0, 1e-12, x)
    return np.where(x < 3, 3 * np.sin(np.pi * x) * np.sin(np.pi * x / 3) / (np.pi * x) ** 2, 0)


_KERNELS = {"bilinear": _triangle, "bicubic": _keys, "lanczos3": _lanczos3}

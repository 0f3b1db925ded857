"""From a row's file, bytes or array to pixels of the model's size, as TensorFlow ops."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tlkeras.config.data import DataConfig
from tlkeras.data.decode import UnreadableImage, decode
from tlkeras.data.memory import pixel_store
from tlkeras.data.resize import resize
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents, sniff
from tlkeras.errors import UserError


@dataclass(frozen=True)
class PixelSpec:
    """How an image gets its size. The same spec gives the same pixels wherever it is used.

    Attributes:
        size: Height and width.
        mode: As in `DataConfig.resize`.
        interpolation: As in `DataConfig`.
        crop_fraction: As in `DataConfig`.
    """

    size: tuple[int, int]
    mode: str = "stretch"
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0

    @classmethod
    def of(cls, config: DataConfig) -> "PixelSpec":
        """Takes the spec from a domain's config (its `image_size` resolved)."""
        return cls(tuple(config.image_size), config.resize, config.interpolation, config.crop_fraction)

    def resize(self, image: tf.Tensor) -> tf.Tensor:
        """Resizes `(h, w, 3)` or `(b, h, w, 3)`, keeping the dtype."""
        return resize(
            image,
            self.size,
            mode=self.mode,
            interpolation=self.interpolation,
            crop_fraction=self.crop_fraction,
        )


def read_image(image: str | bytes, spec: PixelSpec | DataConfig) -> np.ndarray:
    """Reads one image as training does.

    Args:
        image: Path of a file, or an encoded image.
        spec: A domain's config, or a `PixelSpec`.

    Returns:
        `uint8` array `(height, width, 3)`.

    Raises:
        UserError: With the name of the file and why it cannot be read.
    """
    spec = PixelSpec.of(spec) if isinstance(spec, DataConfig) else spec
    content, plain = _open([image], lambda i: image if isinstance(image, str) else "the image")
    return _decode_batch(tf.constant(content), tf.constant(plain), spec)[0].numpy()


def reader(rows: Rows, config: DataConfig):
    """Returns a function from row indices `(b,)` int64 to their inputs, for use inside tf.data.

    Images come as `(b, height, width, 3)` `uint8` (`float32` where the rows hold floats), vectors as
    `(b, d)` `float32`. What fits into `config.memory_mb` is decoded once and kept.
    """
    if rows.kind == "vectors":
        width = rows.inputs.shape[1]
        return lambda indices: _from_python(lambda i: rows.inputs[i], indices, tf.float32, (width,))
    spec = PixelSpec.of(config)
    shape = (*spec.size, 3)
    if rows.kind == "images" and rows.inputs.shape[1:] == shape and spec.crop_fraction == 1.0:
        dtype = tf.as_dtype(rows.inputs.dtype)
        return lambda indices: _from_python(lambda i: rows.inputs[i], indices, dtype, shape)
    read = _array_reader(rows, spec) if rows.kind == "images" else _encoded_reader(rows, spec)
    store = pixel_store(rows, shape, (spec,), config.memory_mb)
    if store is None:
        return read
    dtype = tf.as_dtype(store.pixels.dtype)

    def read_or_keep(indices):
        return tf.cond(
            _from_python(store.has, indices, tf.bool, None),
            lambda: _from_python(store.get, indices, dtype, shape),
            lambda: _from_python(store.put, indices, dtype, shape, read(indices)),
        )

    return read_or_keep


def _from_python(function, indices, dtype, shape, *more):
    # Declared stateless: under op determinism tf.data would run a stateful function one call at a time.
    result = tf.numpy_function(function, [indices, *more], dtype, stateful=False)
    result.set_shape(() if shape is None else (indices.shape[0], *shape))
    return result


def _array_reader(rows: Rows, spec: PixelSpec):
    shape = rows.inputs.shape[1:] if rows.inputs.ndim == 4 else (*rows.inputs.shape[1:], 1)
    dtype = tf.as_dtype(rows.inputs.dtype)

    def take(indices):
        return rows.inputs[indices].reshape(-1, *shape)

    def read(indices):
        images = _from_python(take, indices, dtype, shape)
        images = tf.image.grayscale_to_rgb(images) if shape[-1] == 1 else images
        return spec.resize(images)

    return read


def _encoded_reader(rows: Rows, spec: PixelSpec):
    def open_rows(indices):
        return _open(rows.inputs[indices], lambda i: rows.ids[indices[i]])

    def read(indices):
        content, plain = tf.numpy_function(open_rows, [indices], (tf.string, tf.bool), stateful=False)
        content.set_shape(indices.shape)
        plain.set_shape(indices.shape)
        return _decode_batch(content, plain, spec)

    return read


def _open(items, name_of) -> tuple[np.ndarray, np.ndarray]:
    """Reads files and tells which of them TensorFlow's own decoder may take.

    The others are decoded here, where a failure can be named, and handed on as BMP-like raw pixels.
    """
    content = np.empty(len(items), object)
    plain = np.empty(len(items), bool)
    for i, item in enumerate(items):
        try:
            content[i] = contents(item)
            plain[i] = sniff(content[i]).plain
            if not plain[i]:
                pixels = decode(content[i])
                content[i] = np.array(pixels.shape[:2], "<i4").tobytes() + pixels.tobytes()
        except OSError as error:
            raise UserError(f"{name_of(i)} cannot be opened. Received: {error.strerror or error}") from None
        except UnreadableImage as error:
            raise UserError(f"{name_of(i)} {error}. Received: an unreadable image") from None
    return content, plain


def _decode_batch(content, plain, spec: PixelSpec):
    """Decodes and resizes opened images `(b,)` to `uint8` `(b, height, width, 3)`."""
    signature = tf.TensorSpec((*spec.size, 3), tf.uint8)
    return tf.map_fn(
        lambda item: spec.resize(_decode_one(*item)), (content, plain), fn_output_signature=signature
    )


def _decode_one(content, plain):
    def by_tensorflow():
        # Takes PNG as well. The accurate transform is the one Pillow uses.
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

    def from_raw_pixels():
        shape = tf.io.decode_raw(tf.strings.substr(content, 0, 8), tf.int32)
        pixels = tf.io.decode_raw(tf.strings.substr(content, 8, -1), tf.uint8)
        return tf.reshape(pixels, tf.concat([shape, [3]], axis=0))

    image = tf.cond(plain, by_tensorflow, from_raw_pixels)
    image.set_shape((None, None, 3))
    return image

"""Reading of rows with TensorFlow ops: files, encoded images or arrays become pixels of the model's size."""

import functools
import itertools
import weakref
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tlkeras.config.data import MAX_PIXELS, DataConfig
from tlkeras.data.decode import UnreadableImage, decode
from tlkeras.data.image_header import defect, sniff
from tlkeras.data.memory import pixel_store
from tlkeras.data.preprocess import JPEG_RATIOS, jpeg_ratio
from tlkeras.data.resize import resize
from tlkeras.data.rows import Rows
from tlkeras.data.scan import contents
from tlkeras.data.sound_files import SoundSpec, SoundWindow, UnreadableSound, as_floats, read_pieces
from tlkeras.data.sound_windows import drawn_begins, lengths_of
from tlkeras.errors import UserError


@dataclass(frozen=True)
class PixelSpec:
    """The settings by which an image is resized. Equal settings give equal pixels everywhere.

    Attributes:
        size: Height and width.
        mode: Value of `DataConfig.resize`.
        interpolation: Value of `DataConfig.interpolation`.
        crop_fraction: Value of `DataConfig.crop_fraction`.
        max_pixels: Value of `DataConfig.max_pixels`.
    """

    size: tuple[int, int]
    mode: str = "stretch"
    interpolation: str = "bilinear"
    crop_fraction: float = 1.0
    max_pixels: int = MAX_PIXELS

    @classmethod
    def of(cls, config: DataConfig) -> "PixelSpec":
        """Returns the spec of a domain's config, whose `image_size` is resolved."""
        height_and_width: Any = config.image_size
        size, how = tuple(height_and_width), (config.resize, config.interpolation, config.crop_fraction)
        return cls(size, *how, config.max_pixels)

    @property
    def settings(self) -> dict:
        """Settings for `data.preprocess`, which reads without TensorFlow and has no `max_pixels`."""
        return {name: value for name, value in asdict(self).items() if name != "max_pixels"}

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
        image: Path of a file, or the bytes of an encoded image.
        spec: Config of a domain, or a `PixelSpec`.

    Returns:
        `uint8` array `(height, width, 3)`.

    Raises:
        UserError: The image cannot be read. The message has the name of the file and the reason.
    """
    spec = PixelSpec.of(spec) if isinstance(spec, DataConfig) else spec
    content, ratio = _open([image], lambda i: image if isinstance(image, str) else "the image", spec)
    try:
        return _decode_function(spec)(tf.constant(content), tf.constant(ratio))[0].numpy()
    except tf.errors.InvalidArgumentError:
        name = image if isinstance(image, str) else "the image"
        raise UserError(f"{name} is damaged. Received: an unreadable image") from None


def array_reader(rows: Rows):
    """Returns a function from row indices `(b,)` int64 to rows of an array as float32, for use in tf.data.

    If rows have several columns, the function returns a dict of tensors with the dtypes of the columns.
    """
    if rows.inputs.dtype.names:
        return _columns_reader(rows)
    shape = rows.inputs.shape[1:]
    rows = weakref.proxy(rows)  # as in `image_reader`
    return lambda indices: _from_python(
        lambda i: rows.inputs[i].astype(np.float32, copy=False), indices, tf.float32, shape
    )


def _columns_reader(rows: Rows):
    types, names = rows.inputs.dtype, rows.inputs.dtype.names or ()
    dtypes = [tf.as_dtype(types[name].base) for name in names]
    rows = weakref.proxy(rows)  # as in `image_reader`

    def take(indices):
        chosen = rows.inputs[indices]
        return [np.ascontiguousarray(chosen[name]) for name in names]

    def read(indices):
        columns = tf.numpy_function(take, [indices], dtypes, stateful=False)
        found: dict[str, Any] = dict(zip(names, columns, strict=True))
        for name, column in found.items():
            column.set_shape((indices.shape[0], *types[name].shape))
        return found

    return read


def image_reader(rows: Rows, config: DataConfig):
    """Returns a function from row indices `(b,)` int64 to images, for use inside tf.data.

    The images are `(b, height, width, 3)`, `uint8`, or `float32` if the rows are floats. Images that fit
    into `config.memory_mb` are decoded once and stay in memory.
    """
    kept = rows
    # TensorFlow may keep a graph with these functions longer than its dataset. The functions must therefore
    # not keep the rows alive; the dataset does that (see pipeline.py).
    rows = weakref.proxy(rows)
    spec = PixelSpec.of(config)
    shape = (*spec.size, 3)
    if rows.kind == "images" and rows.inputs.shape[1:] == shape and spec.crop_fraction == 1.0:
        dtype = tf.as_dtype(rows.inputs.dtype)
        return lambda indices: _from_python(lambda i: rows.inputs[i], indices, dtype, shape)
    read = _array_reader(rows, spec) if rows.kind == "images" else _encoded_reader(rows, spec)
    dtype = rows.inputs.dtype if rows.kind == "images" else np.dtype(np.uint8)
    return _read_once(read, kept, shape, spec, dtype, config.memory_mb)


class SoundReader:
    """A function from row indices `(b,)` int64 to sounds, float32 `(b, samples)`, for use inside tf.data.

    Sounds that fit into `config.memory_mb` are decoded once.

    Args:
        rows: Rows of sounds.
        config: Config of the domain.
    """

    def __init__(self, rows: Rows, config: DataConfig):
        self.spec, self.rows = SoundSpec.of(config), weakref.proxy(rows)  # as in `image_reader`
        self._shape, self._in_files = (self.spec.samples,), rows.kind != "vectors"
        self._lengths = None
        dtype = np.dtype(np.float32)
        self._read = self._from_array
        if self._in_files:
            kept = config.memory_mb
            self._read = _read_once(self._decoded, rows, self._shape, self.spec, dtype, kept)

    def __call__(self, indices):
        """Returns the beginning of each sound."""
        return self._read(indices)

    def window(self, indices, seed: int, epoch):
        """Returns a random window of each sound, which depends only on the seed, the epoch and the row."""
        if not self._in_files:
            return self._read(indices)  # sounds in arrays have one window

        def read(indices, epoch):
            if self._lengths is None:
                self._lengths = lengths_of(self.rows, self.spec)
            return self._at(indices, drawn_begins(self._lengths, self.spec, seed, epoch, indices))

        return _from_python(read, indices, tf.float32, self._shape, epoch)

    def _at(self, indices, begins) -> np.ndarray:
        found = []
        inputs, ids = self.rows.inputs, self.rows.ids
        each = zip(indices, begins, strict=True)
        pieces = [_piece(inputs[i], int(begin), str(ids[i])) for i, begin in each]
        # the windows of a sound stand side by side, so that each sound of a batch is opened once
        for (item, name), same in itertools.groupby(pieces, lambda piece: piece[:2]):
            found.append(_read_pieces(item, name, self.spec, [begin for _, _, begin in same]))
        return np.concatenate(found)

    def _decoded(self, indices):
        read = lambda indices: self._at(indices, np.zeros(len(indices)))  # noqa: E731
        return _from_python(read, indices, tf.float32, self._shape)

    def _from_array(self, indices):
        return _from_python(lambda i: as_floats(self.rows.inputs[i]), indices, tf.float32, self._shape)


def _piece(item, begin: int, name: str) -> tuple[Any, str, int]:
    return (item.item, name, item.begin) if isinstance(item, SoundWindow) else (item, name, begin)


def _read_pieces(item, name: str, spec: SoundSpec, begins: list[int]) -> np.ndarray:
    try:
        return read_pieces(item, spec, begins)
    except OSError as error:
        raise UserError(f"{name} cannot be opened. Received: {error.strerror or error}") from None
    except UnreadableSound as error:
        raise UserError(f"{name} {error}. Received: an unreadable sound") from None


def _read_once(read, rows: Rows, shape, spec, dtype: np.dtype, memory_mb: int):
    """Returns a reader that stores what it has read, or `read` if not all rows fit into memory."""
    store = pixel_store(rows, shape, (spec,), dtype, memory_mb)
    if store is None:
        return read
    dtype, is_full, store = tf.as_dtype(dtype), store.is_full, weakref.proxy(store)
    if is_full:  # a graph without the ops that decode is made in a fraction of the time
        return lambda indices: _from_python(lambda i: store.get(i), indices, dtype, shape)

    def read_or_keep(indices):
        return tf.cond(
            _from_python(lambda i: store.has(i), indices, tf.bool, None),
            lambda: _from_python(lambda i: store.get(i), indices, dtype, shape),
            lambda: _from_python(lambda i, x: store.put(i, x), indices, dtype, shape, read(indices)),
        )

    return read_or_keep


def _from_python(function, indices, dtype, shape, *more):
    # Stateless, because with op determinism tf.data would run a stateful function one call at a time.
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
        return _open(rows.inputs[indices], lambda i: rows.ids[indices[i]], spec)

    def read(indices):
        content, ratio = tf.numpy_function(open_rows, [indices], (tf.string, tf.int32), stateful=False)
        content.set_shape(indices.shape)
        ratio.set_shape(indices.shape)
        images = _decode_function(spec)(content, ratio)
        images.set_shape((indices.shape[0], *spec.size, 3))
        return images

    return read


def _open(items, name_of, spec: PixelSpec) -> tuple[np.ndarray, np.ndarray]:
    """Reads files for TensorFlow's decoder.

    Returns the contents, and for each content the divisor of the size at which a JPEG is decoded. Images
    that only Pillow decodes correctly are decoded here, so that an error can name the file. Their content
    is the size followed by the raw pixels, and their ratio is 0.
    """
    content = np.empty(len(items), object)
    ratio = np.empty(len(items), np.int32)
    for i, item in enumerate(items):
        try:
            content[i] = contents(item)
            header = sniff(content[i])
            reason = defect(content[i], header, spec.max_pixels) if header.plain else ""
            if header.plain and not reason:
                shrinks = header.format == "jpeg"
                ratio[i] = jpeg_ratio(header.height, header.width, **spec.settings) if shrinks else 1
                continue
            if header.plain:
                raise UnreadableImage(reason)
            pixels = decode(content[i], spec.max_pixels, **spec.settings)
            content[i] = np.array(pixels.shape[:2], "<i4").tobytes() + pixels.tobytes()
            ratio[i] = 0
        except OSError as error:
            raise UserError(f"{name_of(i)} cannot be opened. Received: {error.strerror or error}") from None
        except UnreadableImage as error:
            raise UserError(f"{name_of(i)} {error}. Received: an unreadable image") from None
    return content, ratio


@functools.lru_cache(maxsize=16)
def _decode_function(spec: PixelSpec):
    """Returns `_decode_batch` as a function that all datasets share, because its trace takes long."""
    signature = [tf.TensorSpec((None,), tf.string), tf.TensorSpec((None,), tf.int32)]
    return tf.function(
        functools.partial(_decode_batch, spec=spec), input_signature=signature, autograph=False
    )


def _decode_batch(content, ratio, spec: PixelSpec):
    """Decodes and resizes opened images `(b,)` to `uint8` `(b, height, width, 3)`."""

    @tf.autograph.experimental.do_not_convert
    def one(item):
        return spec.resize(_decode_one(*item))

    signature = tf.TensorSpec((*spec.size, 3), tf.uint8)
    return tf.map_fn(one, (content, ratio), fn_output_signature=signature)


def _decode_one(content, ratio):
    def by_tensorflow(shrink):
        # This decodes PNG as well. Pillow uses the accurate transform too.
        return lambda: tf.io.decode_jpeg(content, channels=3, ratio=shrink, dct_method="INTEGER_ACCURATE")

    def from_raw_pixels():
        shape = tf.io.decode_raw(tf.strings.substr(content, 0, 8), tf.int32)
        pixels = tf.io.decode_raw(tf.strings.substr(content, 8, -1), tf.uint8)
        return tf.reshape(pixels, tf.concat([shape, [3]], axis=0))

    branches = [from_raw_pixels, *(by_tensorflow(shrink) for shrink in JPEG_RATIOS)]
    image = tf.switch_case(tf.where(ratio == 8, 4, tf.where(ratio == 4, 3, ratio)), branches)
    image.set_shape((None, None, 3))
    return image

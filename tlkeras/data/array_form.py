"""Arrays as inputs: the allowed values, and the conversion that training and `predict` share."""

import io
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tlkeras.config.data import DataConfig
from tlkeras.data.input_shapes import by_column, columns, shape_in_words, shape_of
from tlkeras.data.sound_arrays import sounds_in_array
from tlkeras.data.sound_files import SoundSpec
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

PIL = LateModule("PIL")

# Vectors that are this many times larger or smaller than 98 % of the training vectors have another scale.
_OTHER_SCALE = 5
# Rounding may carry floats so far beyond black and white, as a fraction of white. They are clipped.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class ArrayForm:
    """The facts about the training arrays by which other arrays are checked and converted.

    Attributes:
        shape: Shape of one row: `(height, width)`, `(height, width, channels)` or `(d,)`.
        white: Value of a white pixel: 1, 255 or 65535. None for vectors.
        sizes: The 1st and the 99th percentile of the root mean squares of the vectors. None for images.
        darkest: Largest value of the darkest training image in 0..255. None for vectors.
    """

    shape: tuple[int, ...]
    white: int | None = None
    sizes: tuple[float, float] | None = None
    darkest: float | None = None

    @classmethod
    def of_images(cls, images: np.ndarray, white: int) -> "ArrayForm":
        """Returns the form of training images `(n, h, w)` or `(n, h, w, c)` with this value of white."""
        darkest = float(images.reshape(len(images), -1).max(axis=1).min())
        return cls(tuple(int(side) for side in images.shape[1:]), white, darkest=darkest)

    @classmethod
    def of_vectors(cls, vectors: np.ndarray) -> "ArrayForm":
        """Returns the form of training vectors `(n, d)`."""
        low, high = np.percentile(_root_mean_squares(vectors), (1, 99))
        return cls((int(vectors.shape[1]),), sizes=(float(low), float(high)))

    @classmethod
    def read(cls, facts: Mapping[str, Any] | None) -> "ArrayForm | None":
        """Returns the form that `describe` wrote, or None for None."""
        if facts is None:
            return None
        sizes = facts["sizes"]
        sizes = None if sizes is None else tuple(sizes)
        return cls(tuple(facts["shape"]), facts["white"], sizes, facts.get("darkest"))

    def describe(self) -> dict[str, Any]:
        """Returns the form as JSON values."""
        return asdict(self)


def white_of(x: np.ndarray) -> int:
    """Returns the value of a white pixel in training arrays: 1, 255 or 65535."""
    if x.dtype == np.bool_:
        return 1
    if x.dtype == np.uint16 and x.max() > 255:
        return 65535
    return 1 if x.dtype.kind == "f" and _within(x, 1) else 255


def as_array(values: Any) -> np.ndarray:
    """Returns values as an array. In a list with texts, other values stay as they are, such as None and NaN,
    which NumPy would turn into texts.

    Args:
        values: Array, or anything that NumPy makes one of.

    Raises:
        ValueError: The values have several shapes.
    """
    if not isinstance(values, list | tuple):
        return np.asarray(values)
    if not any(isinstance(one, str) for one in values):
        made = np.asarray(values)
        return np.array(values, object) if made.dtype.kind == "U" else made  # pairs of texts
    if any(isinstance(one, list | tuple | np.ndarray) for one in values):
        raise ValueError("texts beside lists")
    found = np.empty(len(values), object)
    found[:] = values
    return found


def as_inputs(
    x: np.ndarray, where: str, white: int | None = None, darkest: float | None = None
) -> np.ndarray:
    """Converts an array to a form that `Rows.inputs` may hold: pixels in 0..255, vectors, or strings.

    Args:
        x: Array of images, of vectors, or of paths, texts or encoded pictures `(n,)`, or of pairs of texts
            `(n, 2)`.
        where: Name of the array in messages.
        white: Value of a white pixel: 1, 255 or 65535. None finds it out, which is for training arrays.
        darkest: Largest value of the darkest training image in 0..255, or None if it is not known.

    Raises:
        UserError: The shape, the dtype or the range of the values is not allowed.
    """
    if x.dtype == object or x.dtype.kind in "US":
        fits = x.ndim == 1 or (x.ndim == 2 and x.shape[1] == 2)
        if x.dtype == object and x.ndim == 1 and len(x) and all(isinstance(one, bytes) for one in x):
            return x
        flat = x.ravel()
        other = [i for i, one in enumerate(flat) if not isinstance(one, str | os.PathLike)] if fits else []
        if not fits or other:
            row = f", row {other[0] * len(x) // len(flat)}" if other else ""
            wrong = f"{type(flat[other[0]]).__name__} in it" if other else ""
            received = wrong or f"dtype={x.dtype}, shape={x.shape}"
            raise UserError(
                f"{where}{row}: x must hold numbers, paths, texts, or pairs of texts. Received: {received}"
            )
        return np.array([str(one) for one in x.ravel()], object).reshape(x.shape)
    if x.ndim and not len(x):
        raise UserError(f"{where}: x has no rows. Received: shape {x.shape}")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise UserError(f"{where}: x must have shape (n, h, w), (n, h, w, c) or (n, d). Received: {x.shape}")
    check_numbers(x, where)
    if x.ndim == 2:
        return x.astype(np.float32)
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4):
        raise UserError(f"{where}: images need 1, 3 or 4 channels last. Received: shape {x.shape}")
    allowed = "0..255 (or 0..1 as floats)" if white is None else f"0..{white}, as in training"
    white = white_of(x) if white is None else white
    if not _in_range(x, white, darkest):
        received = f"{x.dtype} in {float(x.min()):g}..{float(x.max()):g}"
        raise UserError(f"{where}: pixels must lie in {allowed}. Received: {received}")
    return _pixels(x, white)


def inputs_of_source(
    x: np.ndarray, where: str, white: int | None = None, darkest: float | None = None,
    config: DataConfig | None = None,
) -> np.ndarray:  # fmt: skip
    """Converts an array of a data source as `as_inputs` does; with `data.seconds`, numbers are sounds.

    Args:
        x: Array as in `as_inputs`, or sounds as in `sounds_in_array`.
        where: Name of the array in messages.
        white: Value of a white pixel. None finds it out, which is for training arrays.
        darkest: Largest value of the darkest training image in 0..255, or None if it is not known.
        config: Config of the domain, or None.

    Raises:
        UserError: The shape, the dtype or the range of the values is not allowed.
    """
    if config is not None and config.seconds is not None and x.dtype.kind not in "OUS":
        return sounds_in_array(x, where, SoundSpec.of(config).samples)
    return as_inputs(x, where, white, darkest)


def training_range(x: np.ndarray) -> tuple[int, float | None]:
    """Returns what white is in training pixels, for all splits, and the largest value of the darkest.

    Args:
        x: Training array before its conversion. For what are no pixels, 255 and None are returned.
    """
    if x.ndim not in (3, 4) or not x.size or x.dtype.kind not in "fiub":
        return 255, None
    return white_of(x), float(x.reshape(len(x), -1).max(axis=1).min())


def check_numbers(x: np.ndarray, where: str) -> None:
    """Raises `UserError` if an array does not hold real, finite numbers."""
    if x.dtype.kind not in "fiub":
        raise UserError(f"{where}: x must hold real numbers. Received: dtype={x.dtype}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise UserError(f"{where}: x holds a value that is not finite. Received: {x[~np.isfinite(x)][0]}")


def _within(x: np.ndarray, white: int) -> bool:
    slack = _ROUNDING * white if x.dtype.kind == "f" else 0
    return bool(x.min() >= -slack and x.max() <= white + slack)


def _in_range(x: np.ndarray, white: int, darkest: float | None) -> bool:
    if not _within(x, white):
        return False
    if white == 65535:
        return x.dtype.kind in "iu" and x.dtype.itemsize > 1
    # Floats up to 1 count as 0..1, unless they are black or training had images as dark.
    as_dark = darkest is not None and darkest <= 1 and x.dtype.kind == "f"
    return white == 1 or x.dtype.kind not in "fb" or not _within(x, 1) or not x.any() or as_dark


def _pixels(x: np.ndarray, white: int) -> np.ndarray:
    floats = x.dtype.kind == "f"
    if floats:
        x = x.clip(0, white)
    if white == 65535:
        x = (x.astype(np.uint32) + 128) // 257
    elif white == 1:
        x = x.astype(np.float32 if floats else np.uint8) * (255 if floats else np.uint8(255))
    x = x.astype(np.float32 if floats else np.uint8, copy=False)
    if x.ndim == 4 and x.shape[-1] == 4:
        alpha = x[..., 3:].astype(np.float32) / 255
        x = (x[..., :3] * alpha + 255 * (1 - alpha)).round().astype(x.dtype)
    return x


def as_png(image: np.ndarray) -> bytes:
    """Returns an image, uint8 `(h, w)` or `(h, w, c)` with 1 or 3 channels, as a PNG file."""
    file = io.BytesIO()
    PIL.Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image).save(
        file, "PNG"
    )
    return file.getvalue()


def images_like_training(x: Any, form: ArrayForm | None, input_shape: tuple[int, ...]) -> np.ndarray:
    """Converts an array of images as the training arrays were converted.

    Args:
        x: Images `(n, h, w)` or `(n, h, w, c)` of the size of the training arrays or of the model.
        form: Form of the training arrays. None if training images came from files; pixels are then 0..255.
        input_shape: Shape of one input of the model.

    Returns:
        An array that `Rows.inputs` may hold: `uint8` or `float32` pixels in 0..255.

    Raises:
        UserError: The array has another shape, or its values lie in another range.
    """
    shapes = [input_shape] if form is None or form.shape == input_shape else [form.shape, input_shape]
    x = _batch(x, shapes)
    return as_inputs(x, "predict", 255) if form is None else as_inputs(x, "predict", form.white, form.darkest)


def vectors_like_training(x: Any, form: ArrayForm | None, input_shape: tuple[int, ...]) -> np.ndarray:
    """Returns vectors `(n, d)` as float32.

    Args:
        x: The vectors.
        form: Form of the training vectors. None skips the check of the scale.
        input_shape: Shape of one input of the model, `(d,)`.

    Raises:
        UserError: The array has another shape, or its values lie on another scale than in training.
    """
    x = _batch(x, [input_shape])
    _check_scale(x, form)
    return x.astype(np.float32)


def _batch(x: Any, shapes: list[tuple[int, ...]]) -> np.ndarray:
    """Returns `x` as an array of rows with one of these shapes. The number of channels may differ."""
    wanted = " or ".join(f"({', '.join(['n', *map(str, shape)])})" for shape in shapes)
    try:
        x = np.asarray(x)
    except ValueError as error:
        raise UserError(f"x must be one array {wanted}. Received: rows of different shapes") from error
    if x.dtype.kind not in "fiub":
        raise UserError(f"x must be an array {wanted} of numbers. Received: {x.dtype}")
    vectors = len(shapes[0]) == 1
    fits = x.ndim == 2 if vectors else x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3, 4))
    if not fits or not len(x) or x.shape[1:3] not in {shape[:2] for shape in shapes}:
        hint = " For a single row use x[0:1] instead of x[0]." if x.shape in shapes else ""
        raise UserError(f"x must be a batch {wanted}.{hint} Received: {x.shape}")
    check_numbers(x, "predict")
    return x


def _check_scale(x: np.ndarray, form: ArrayForm | None) -> None:
    if form is None or form.sizes is None or not x.any():
        return
    size, (low, high) = float(np.median(_root_mean_squares(x))), form.sizes
    if not low / _OTHER_SCALE <= size <= high * _OTHER_SCALE:
        raise UserError(
            "predict: x is on another scale than the training vectors, whose root mean square is "
            f"{low:.3g}..{high:.3g}. Received: {size:.3g}"
        )


def _root_mean_squares(x: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(x, dtype=np.float64).mean(axis=1))


def columns_like_training(x: Any, shape: dict[str, tuple[int, ...]]) -> np.ndarray:
    """Returns several inputs as the structured array of rows in which training arrays were kept.

    Args:
        x: Batches `(n, *shape)` by the name of the input.
        shape: Shape of one row of each input.

    Raises:
        UserError: An input is missing or has another shape, or a value is no finite number.
    """
    wanted = f"a dict of batches of {shape_in_words(shape)}"
    try:
        rows = columns({name: x[name] for name in shape})
    except (KeyError, IndexError, TypeError, ValueError) as error:
        received = ", ".join(x) if isinstance(x, Mapping) else type(x).__name__
        raise UserError(f"x must be {wanted}. Received: {received} ({error})") from error
    parts = by_column(rows)
    if shape_of(parts) != shape or not len(rows):
        raise UserError(f"x must be {wanted}. Received: batches of {shape_in_words(shape_of(parts))}")
    for part in parts.values():
        check_numbers(part, "predict")
    return rows


def batch_like_training(x: Any, shape: Any) -> np.ndarray:
    """Returns inputs in the form of training arrays that every array of the shape may have.

    Args:
        x: Inputs `(n, *shape)`, or a dict of inputs.
        shape: Shape of one row, or a dict of shapes.

    Raises:
        UserError: The inputs have another shape, or a value is no finite number.
    """
    if isinstance(shape, dict):
        return columns_like_training(x, shape)
    x = np.asarray(x)
    if x.shape[1:] != shape or not len(x):
        wanted = ", ".join(["n", *map(str, shape)])
        raise UserError(f"x must be a batch of shape ({wanted}). Received: {x.shape}")
    check_numbers(x, "predict")
    return x.astype(np.float32)

"""Preprocessing of raw pixels for a family of backbones, as layers that are saved with the model."""

from collections.abc import Mapping

import keras

from tlkeras.config import FrontEndConfig
from tlkeras.config.columns import ColumnConfig
from tlkeras.data.input_shapes import Shape, like, shapes_by_name
from tlkeras.models.column_values import column_values
from tlkeras.models.front_end import log_mel_picture, speech_log_mel
from tlkeras.registry import Registry

MODES: Registry = Registry("preprocessing mode")


def build_preprocessing(
    mode: str,
    input_shape: Shape,
    dtypes: Mapping[str, str] | None = None,
    front_end: FrontEndConfig | None = None,
    columns: Mapping[str, ColumnConfig] | None = None,
) -> keras.Model:
    """Returns the model from raw inputs to the backbone's inputs.

    It always computes in float32, because half precision cannot distinguish all pixels in 0..255.

    Args:
        mode: Name in `MODES`.
        input_shape: Shape of one example, `(height, width, 3)` with pixels in 0..255, or `(d,)`. For several
            inputs it is a dict of shapes, and the mode converts a dict of tensors.
        dtypes: Dtypes by the name of the input; see `Modality.dtypes`. Inputs without an entry are float32.
        front_end: Config of the layers that turn sounds into pictures first, or None.
        columns: Facts about columns, whose values are standardised first.

    Returns:
        A functional model that equals the family's `preprocess_input` in `keras.applications`.
    """
    dtypes = dtypes or {}
    x = {
        name: keras.Input(shape, dtype=dtypes.get(name, "float32"), name=name)
        for name, shape in shapes_by_name(input_shape).items()
    }
    x = like(input_shape, x)
    taken = x if front_end is None else log_mel_picture(x, front_end)
    taken = column_values(taken, columns) if columns else taken
    return keras.Model(x, MODES.get(mode)(taken), name="preprocess")


def _rescaling(scale, offset):
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="preprocess")


@MODES.register("identity")
def identity(x):
    """Does not change inputs, because the backbone has its own Rescaling or takes vectors."""
    if isinstance(x, dict):
        return {
            name: keras.layers.Identity(dtype="float32", name=f"preprocess_{name}")(part)
            for name, part in x.items()
        }
    return keras.layers.Identity(dtype="float32", name="preprocess")(x)


@MODES.register("unit")
def unit(x):
    """Scales pixels to 0..1."""
    return _rescaling(1 / 255, 0.0)(x)


@MODES.register("tf")
def tf(x):
    """Scales pixels to -1..1."""
    return _rescaling(1 / 127.5, -1.0)(x)


@MODES.register("speech_log_mel")
def speech_log_mel_frames(x):
    """Computes the frames of Google's speech embedding from samples at 16 kHz."""
    return speech_log_mel(x)


@MODES.register("lite")
def lite(x):
    """Scales pixels by `(x - 127) / 128`, as EfficientNet-Lite does."""
    return _rescaling(1 / 128, -127 / 128)(x)


@MODES.register("torch")
def torch(x):
    """Scales pixels to 0..1, and standardises each channel by ImageNet's mean and deviation."""
    return _standardised(x, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@MODES.register("clip")
def clip(x):
    """Scales pixels to 0..1, and standardises each channel by the mean and deviation of CLIP's pictures."""
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    return _standardised(x, mean, deviation)


def _standardised(x, mean, deviation):
    scale = [1 / (255 * d) for d in deviation]
    offset = [-m / d for m, d in zip(mean, deviation, strict=True)]
    return _rescaling(scale, offset)(x)


@MODES.register("caffe")
def caffe(x):
    """Converts RGB to BGR, and subtracts ImageNet's mean of each channel."""
    return _rescaling(1.0, [-103.939, -116.779, -123.68])(keras.ops.flip(x, axis=-1))

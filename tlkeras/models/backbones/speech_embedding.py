"""Google's speech embedding (Lin et al. 2020, "Training keyword spotters with limited and synthesized speech
data"), as openWakeWord ships it, of Keras' own layers."""

from __future__ import annotations

from tlkeras.models.backbones.parts import keras, layers
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.speech_frames import BANDS, SHORTEST, frames_of

# filters of the blocks, each of four convolutions and a pooling over (time, bands)
_BLOCKS = ((48, (1, 2)), (72, (2, 2)), (96, (1, 2)), (96, (2, 2)))
_LOWEST = -0.4  # of an activation
_STEM = ("stem_conv_1", "stem_conv_2", "stem_conv_3")
_NAMES = (
    *_STEM,
    *(f"block_{b}_conv_{i}" for b in range(1, len(_BLOCKS) + 1) for i in range(1, 5)),
    "top_conv",
)


def speech_embedding(input_shape: tuple[int, ...]) -> keras.Model:
    """Returns the network from log-mel frames `(frames, 32, 1)` to a map `(time, 1, 96)`.

    The preprocessing of its family makes the frames of samples at 16 kHz. A place of the map sees 0.78
    seconds, and two neighbours are 0.08 seconds apart.

    Args:
        input_shape: Shape of one sound, `(samples,)`.

    Raises:
        ValueError: The sounds are too short.
    """
    frames = frames_of(input_shape[0])
    if frames < SHORTEST:
        raise ValueError(f"sounds need {SHORTEST} frames, 0.79 seconds. Received: {frames} frames")
    x = inputs = keras.Input((frames, BANDS, 1), name="backbone_inputs")
    x = _conv(layers.ZeroPadding2D((0, 1), name="stem_pad")(x), 24, (3, 3), _STEM[0])
    x = _conv(x, 24, (1, 3), _STEM[1])
    x = _conv(x, 24, (3, 1), _STEM[2])
    x = layers.MaxPooling2D(2, name="stem_pool")(x)
    for number, (filters, pool) in enumerate(_BLOCKS, start=1):
        for i in range(1, 5):
            x = _conv(x, filters, (1, 3) if i % 2 else (3, 1), f"block_{number}_conv_{i}")
        x = layers.MaxPooling2D(pool, name=f"block_{number}_pool")(x)
    return keras.Model(inputs, layers.Conv2D(96, (3, 1), name="top_conv")(x), name="speech_embedding")


def _conv(x, filters, kernel, name):
    """Returns a convolution that pads the bands only, and its activation."""
    x = layers.Conv2D(filters, kernel, padding="same" if kernel[0] == 1 else "valid", name=name)(x)
    x = layers.LeakyReLU(0.2, name=f"{name}_leaky")(x)
    # the maximum with `_LOWEST`, in layers, whose names tell their block
    x = layers.Rescaling(1.0, -_LOWEST, dtype=x.dtype, name=f"{name}_raised")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return layers.Rescaling(1.0, _LOWEST, dtype=x.dtype, name=f"{name}_lowered")(x)


_FAMILY = Family(
    "speech_log_mel",
    sample_rate=16_000,
    tensor_names=tuple((rf"^conv_{number}\.", f"{name}.") for number, name in enumerate(_NAMES)),
)
BACKBONES.add(
    "speech_embedding",
    Backbone("speech_embedding", speech_embedding, _FAMILY, 0, 328_224, "top_conv", "stem block_1..4 top",
             input="sound", licence="Apache-2.0"),
)  # fmt: skip

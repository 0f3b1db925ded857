"""Every backbone that a config can name, one module a family: its facts as data, its builder.

Keras is imported when a backbone is built, not when backbones are listed.
"""

from tlkeras.models.backbones import (  # the rows register themselves
    bert,
    clip,
    convnext_v2,
    dinov2,
    dinov3,
    efficientnet_lite,
    keras_file,
    mobilenet_v4,
    siglip,
    small_networks,
    speech_embedding,
    swin,
    table,
    vit,
)
from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family

__all__ = [
    "BACKBONES",
    "Backbone",
    "Family",
    "bert",
    "clip",
    "convnext_v2",
    "dinov2",
    "dinov3",
    "efficientnet_lite",
    "keras_file",
    "mobilenet_v4",
    "siglip",
    "small_networks",
    "speech_embedding",
    "swin",
    "table",
    "vit",
]

"""The kinds of input, one module each: all that is special about images, vectors, ... stands there."""

from tlkeras.data.modalities.base import MODALITIES, Modality
from tlkeras.data.modalities.image import Image
from tlkeras.data.modalities.vector import Vector

__all__ = ["MODALITIES", "Image", "Modality", "Vector"]

for _modality in (Image(), Vector()):
    MODALITIES.add(_modality.name, _modality)

"""The modalities (kinds of input), one module each, such as images and vectors."""

from tlkeras.data.modalities.base import MODALITIES, Modality
from tlkeras.data.modalities.columns import Columns
from tlkeras.data.modalities.image import Image
from tlkeras.data.modalities.several import PARTS, Several, modalities, several_name
from tlkeras.data.modalities.sound import Sound
from tlkeras.data.modalities.text import Text
from tlkeras.data.modalities.vector import Vector

__all__ = [
    "MODALITIES",
    "NAMED_BY",
    "PARTS",
    "Columns",
    "Image",
    "Modality",
    "Several",
    "Sound",
    "Text",
    "Vector",
    "several_name",
]

for _modality in (Image(), Sound(), Text(), Vector(), Columns(), *modalities()):
    MODALITIES.add(_modality.name, _modality)

# Fields of `DataConfig` that name the modality of rows which could also have another one.
NAMED_BY = {"tokenizer": "text", "seconds": "sound", "columns": "columns"}

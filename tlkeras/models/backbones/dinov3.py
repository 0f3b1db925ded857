"""DINOv3, the vision transformers.

Source: Siméoni et al. 2025, "DINOv3". In place of a table of positions, the queries and keys of the patches
are turned by angles that follow from their places, so that any grid of patches has positions. The ConvNeXts
of DINOv3 are in `convnext_v2.py`.
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.backbones.transformer import OF_TRANSFORMERS, vision_transformer

_FAMILY = Family("torch", min_size=16, pooling="class", **OF_TRANSFORMERS)

# name, width, heads; at 224 pixels: parameters, millions of multiply-adds
_ROWS = (
    ("dinov3_small", 384, 6, 21_671_040, 4_701),
    ("dinov3_base", 768, 12, 85_809_408, 17_939),
)

for _name, _width, _heads, _parameters, _macs in _ROWS:
    _arguments = {"width": _width, "depth": 12, "heads": _heads, "patch": 16, "prefix_tokens": 5}
    _arguments |= {"layer_scale": 1.0, "rotary": 100.0, "epsilon": 1e-5, "name": _name}
    _facts = (_name, vision_transformer, _FAMILY, 224, _parameters, "", "stem block_0..11")
    _more = {"arguments": _arguments, "licence": "DINOv3 License", "million_macs": _macs}
    BACKBONES.add(_name, Backbone(*_facts, **_more))

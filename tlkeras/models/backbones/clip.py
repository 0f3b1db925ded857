"""The image tower of CLIP.

Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language Supervision".
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.backbones.transformer import OF_TRANSFORMERS, vision_transformer

# the paper probes the class token before the projection to the space shared with texts
_FAMILY = Family("clip", min_size=14, pooling="class", **OF_TRANSFORMERS)

# name, width, heads, patch; at 224 pixels: parameters, millions of multiply-adds, top-1
_ROWS = (
    ("clip_base_16", 768, 12, 16, 85_798_656, 17_564, None),
    ("clip_base_32", 768, 12, 32, 87_455_232, 4_411, None),
)

for _name, _width, _heads, _patch, _parameters, _macs, _top1 in _ROWS:
    _arguments = {"width": _width, "depth": 12, "heads": _heads, "patch": _patch, "norm_first": True}
    _arguments |= {"activation": "quick_gelu", "epsilon": 1e-5, "name": _name}
    _facts = (_name, vision_transformer, _FAMILY, 224, _parameters, "", "stem block_0..11")
    _more = {"licence": "MIT", "million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(*_facts, arguments=_arguments, **_more))

"""DINOv2, with and without registers.

Sources: Oquab et al. 2024, "DINOv2: Learning Robust Visual Features without Supervision"; Darcet et al. 2024,
"Vision Transformers Need Registers". Registers are four more tokens next to the class token. The network uses
them for information that belongs to no patch.
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.backbones.transformer import OF_TRANSFORMERS, vision_transformer

# the paper's probe reads the class token and the mean of the patches side by side
_FAMILY = Family("torch", min_size=14, pooling="class_and_avg", **OF_TRANSFORMERS)

# name, width, heads, tokens before the patches; at 224 pixels: parameters, millions of multiply-adds, top-1
_ROWS = (
    ("dinov2_small", 384, 6, 1, 21_628_032, 6_126, None),
    ("dinov2_base", 768, 12, 1, 85_723_392, 23_166, None),
    ("dinov2_small_registers", 384, 6, 5, 21_629_568, 6_231, None),
    ("dinov2_base_registers", 768, 12, 5, 85_726_464, 23_546, None),
)

for _name, _width, _heads, _prefix, _parameters, _macs, _top1 in _ROWS:
    _arguments = {"width": _width, "depth": 12, "heads": _heads, "patch": 14, "prefix_tokens": _prefix}
    _facts = (_name, vision_transformer, _FAMILY, 224, _parameters, "", "stem block_0..11")
    _more = {"arguments": _arguments | {"layer_scale": 1e-5, "name": _name}, "licence": "Apache-2.0"}
    _more |= {"million_macs": _macs, "top1": _top1}
    BACKBONES.add(_name, Backbone(*_facts, **_more))

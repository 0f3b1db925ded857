"""The image towers of SigLIP and SigLIP 2. Both have the same architecture: a learned query pools the tokens.

Sources: Zhai et al. 2023, "Sigmoid Loss for Language Image Pre-Training"; Tschannen et al. 2025 (SigLIP 2).
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.backbones.transformer import OF_TRANSFORMERS, vision_transformer

_FAMILY = Family("tf", min_size=14, **OF_TRANSFORMERS)
_ARGUMENTS = {"width": 768, "depth": 12, "heads": 12, "patch": 16, "prefix_tokens": 0}
_ARGUMENTS |= {"activation": "gelu_tanh", "attention_pool": True}

for _name in ("siglip_base", "siglip2_base"):
    _facts = (_name, vision_transformer, _FAMILY, 224, 92_292_864, "", "stem block_0..11")
    _more = {"arguments": _ARGUMENTS | {"name": _name}, "licence": "Apache-2.0", "million_macs": 17_708}
    BACKBONES.add(_name, Backbone(*_facts, **_more))

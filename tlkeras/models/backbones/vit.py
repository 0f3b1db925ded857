"""ViT and DeiT.

ViT is described in Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words". Its sizes are those of Steiner
et al. 2022, "How to train your ViT?". DeiT is described in Touvron et al. 2021, "Training data-efficient
image transformers". It has the same architecture and was trained in another way. A distilled DeiT has a
second token besides the class token.
"""

from tlkeras.models.backbones.registry import BACKBONES, Backbone, Family
from tlkeras.models.backbones.transformer import OF_TRANSFORMERS, vision_transformer

# the class token represents the image, both in a probe and in fine-tuning
_VIT = Family("tf", min_size=14, pooling="class", **OF_TRANSFORMERS)
_DEIT = Family("torch", min_size=14, pooling="class", **OF_TRANSFORMERS)

# name, family, width, heads, tokens before the patches; at 224 pixels: parameters, millions of
# multiply-adds, top-1 (timm's table: ViT of augreg, pretrained on ImageNet-21k; DeiT of Meta)
_ROWS = (
    ("vit_tiny", _VIT, 192, 3, 1, 5_524_032, 1_254, 75.5),
    ("vit_small", _VIT, 384, 6, 1, 21_664_896, 4_599, 81.4),
    ("vit_base", _VIT, 768, 12, 1, 85_797_120, 17_564, 85.1),
    ("deit_tiny", _DEIT, 192, 3, 1, 5_524_032, 1_254, 72.2),
    ("deit_small", _DEIT, 384, 6, 1, 21_664_896, 4_599, 79.8),
    ("deit_base", _DEIT, 768, 12, 1, 85_797_120, 17_564, 82.0),
    ("deit_tiny_distilled", _DEIT, 192, 3, 2, 5_524_224, 1_261, 74.5),
    ("deit_small_distilled", _DEIT, 384, 6, 2, 21_665_280, 4_624, 81.2),
    ("deit_base_distilled", _DEIT, 768, 12, 2, 85_797_888, 17_656, 83.4),
)

for _name, _family, _width, _heads, _prefix, _parameters, _macs, _top1 in _ROWS:
    _arguments = {"width": _width, "depth": 12, "heads": _heads, "patch": 16, "prefix_tokens": _prefix}
    _facts = (_name, vision_transformer, _family, 224, _parameters, "", "stem block_0..11")
    _more = {"arguments": _arguments | {"name": _name}, "licence": "Apache-2.0", "million_macs": _macs}
    BACKBONES.add(_name, Backbone(*_facts, **_more, top1=_top1))

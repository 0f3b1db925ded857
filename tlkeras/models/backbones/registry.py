"""Every backbone as one row of facts; nothing here imports Keras."""

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass

from tlkeras.models.backbones.table import (
    APPLICATIONS,
    EFFICIENTNET_LITE,
    LITE_FAMILY,
    SMALL_NETWORKS,
    Family,
)
from tlkeras.registry import Registry


@dataclass(frozen=True)
class Backbone:
    """What is known of a backbone without building it.

    Attributes:
        name: Registered name.
        builder: The function that builds it, or where that is, `module:function`; called with
            `input_shape`, and in keras.applications with `include_top=False` and `weights`.
        family: Preprocessing, names of blocks and of weight files.
        size: Default side of the input image in pixels; 0 for vectors.
        parameters: Number of parameters without top at default options; None where it depends on the
            data.
        grad_cam: Layer whose output Grad-CAM reads (Selvaraju et al. 2017); empty for vectors.
        blocks: Names of the blocks from input to output at default options, runs shortened:
            `block2a..c` is block2a, block2b, block2c.
        weights_package: The installable package that holds the ImageNet weights; empty where Keras
            has them itself, or there are none.
        input: `image`, `vector` or `any`.
    """

    name: str
    builder: str | Callable
    family: Family
    size: int
    parameters: int | None
    grad_cam: str
    blocks: str
    weights_package: str = ""
    input: str = "image"

    @property
    def block_names(self) -> tuple[str, ...]:
        """The names of the blocks, from input to output."""
        return tuple(name for word in self.blocks.split() for name in _expand(word))

    @property
    def depth(self) -> int:
        """The number of blocks."""
        return len(self.block_names)

    @property
    def is_application(self) -> bool:
        """Whether keras.applications builds it."""
        return self.where.startswith("keras.applications:")

    @property
    def where(self) -> str:
        """The builder's `module:function`."""
        if isinstance(self.builder, str):
            return self.builder
        return f"{self.builder.__module__}:{self.builder.__qualname__}"

    @property
    def function(self) -> Callable:
        """The builder itself; imports its module."""
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        return getattr(importlib.import_module(module), function)


def _expand(word: str) -> list[str]:
    match = re.fullmatch(r"(.*?)(\d+|[a-z])\.\.(\d+|[a-z])", word)
    if match is None:
        return [word]
    prefix, first, last = match.groups()
    if first.isdigit():
        return [f"{prefix}{i}" for i in range(int(first), int(last) + 1)]
    return [f"{prefix}{chr(i)}" for i in range(ord(first), ord(last) + 1)]


BACKBONES: Registry[Backbone] = Registry("backbone")

for _name, _function, *_facts in APPLICATIONS:
    BACKBONES.add(_name, Backbone(_name, f"keras.applications:{_function}", *_facts))

for _name, _package, _size, _parameters, _blocks in EFFICIENTNET_LITE:
    _builder = f"tlkeras.models.backbones.efficientnet_lite:{_name}"
    _facts = (LITE_FAMILY, _size, _parameters, "top_activation", _blocks, _package)
    BACKBONES.add(_name, Backbone(_name, _builder, *_facts))

for _name, _family, _input, *_facts in SMALL_NETWORKS:
    _builder = f"tlkeras.models.backbones.small_networks:{_name}"
    BACKBONES.add(_name, Backbone(_name, _builder, _family, *_facts, input=_input))

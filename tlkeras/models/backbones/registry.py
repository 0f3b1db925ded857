"""What is known of a backbone without building it; nothing here imports Keras."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.config.data import DataConfig
from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities import MODALITIES
from tlkeras.registry import Registry, function_at

NUMBERED_BLOCKS = ((r"^((?:stage_?\d+_)?[a-z]+_?\d+)(?![0-9])", r"\1"), (r"^(stem|top)(?:_|$)", r"\1"))


@dataclass(frozen=True)
class Family:
    """What the members of a family of backbones share.

    Attributes:
        preprocessing: Key of `tlkeras.models.backbones.preprocessing.MODES`.
        block_names: How layer names become block names: the first (pattern, template) that matches a
            layer of a segment between two cut points names it; a segment without a name joins the
            block before it. The most telling pattern stands first. By default `stem`, `top` and words
            with a number begin a block: `block_3_norm` belongs to `block_3`, `stage_1_block_2_conv` to
            `stage_1_block_2`.
        weights_file: Name of the file with ImageNet weights that Keras looks for, with `{name}`,
            `{app}` (the function's name in lower case), `{last}` (the last word of the name) and, for
            the MobileNets, `{alpha}`, `{alpha_}` and `{rows}`.
        weights_sides: Sides in pixels for which there are weights of their own; those for 224 serve any
            other image size.
        min_size: Smallest side of an image that the network accepts.
        live_tensors: How many tensors may cross a cut; 2 for NASNet, whose cells read the outputs of
            the two cells before them.
        pooling: The neck's pooling where a config names none: what the family's paper probes with.
        tensor_names: What other libraries call its weights: (pattern, template) for `re.sub`, to the name of
            a layer here followed by `.weight`, `.bias`, `.running_mean` or `.running_var`.
        fit_tensors: Called with the `Tensors` of a checkpoint and the model, where renaming is not enough.
    """

    preprocessing: str = "identity"
    block_names: tuple[tuple[str, str], ...] = NUMBERED_BLOCKS
    weights_file: str = ""
    weights_sides: tuple[int, ...] = ()
    min_size: int = 32
    live_tensors: int = 1
    pooling: str = "avg"
    tensor_names: tuple[tuple[str, str], ...] = ()
    fit_tensors: Callable | None = None


PLAIN = Family()


@dataclass(frozen=True)
class Backbone:
    """What is known of a backbone without building it.

    Attributes:
        name: Registered name.
        builder: The function that builds it, or where that is, `module:function`; called with
            `input_shape` (a dict of shapes where there are several inputs: it then returns a model of a
            dict of inputs of these names), and in keras.applications with `include_top=False` and `weights`.
        family: Preprocessing, names of blocks and of weight files.
        size: Default side of the input image in pixels; 0 for vectors.
        parameters: Number of parameters without top at default options; None where it depends on the
            data.
        grad_cam: Layer whose output Grad-CAM reads (Selvaraju et al. 2017); empty takes the last with
            spatial outputs.
        blocks: Names of the blocks from input to output at default options, runs shortened:
            `block2a..c` is block2a, block2b, block2c. Empty where they are only known once it is built.
        weights_package: The installable package that holds the ImageNet weights; empty where Keras
            has them itself, or there are none.
        input: The kind of its inputs, a name in `MODALITIES`; `any` is images and vectors.
        arguments: Keyword arguments of the builder that make this member of its family; a config's
            `backbone_options` go before them.
        licence: Licence of the weights that are usually meant by this name; empty where Keras or a package
            brings them.
    """

    name: str
    builder: str | Callable
    family: Family = PLAIN
    size: int = 0
    parameters: int | None = None
    grad_cam: str = ""
    blocks: str = ""
    weights_package: str = ""
    input: str = "image"
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)
    licence: str = ""

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
        """The builder with this member's arguments; imports its module."""
        builder = function_at(self.builder)
        return functools.partial(builder, **self.arguments) if self.arguments else builder

    @property
    def modalities(self) -> tuple[str, ...]:
        """The kinds of input that it takes, the usual one first."""
        return ("image", "vector") if self.input == "any" else (self.input,)

    def input_shape(self, config: DataConfig) -> Shape:
        """Returns the shape of one input by the config alone, where the data are not at hand."""
        return MODALITIES.get(self.modalities[0]).assumed_shape(config, self.size or None)


def _expand(word: str) -> list[str]:
    match = re.fullmatch(r"(.*?)(\d+|[a-z])\.\.(\d+|[a-z])", word)
    if match is None:
        return [word]
    prefix, first, last = match.groups()
    if first.isdigit():
        return [f"{prefix}{i}" for i in range(int(first), int(last) + 1)]
    return [f"{prefix}{chr(i)}" for i in range(ord(first), ord(last) + 1)]


BACKBONES: Registry[Backbone] = Registry("backbone")

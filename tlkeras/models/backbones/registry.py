"""The registry of backbones, with facts that are known without building them. It does not import Keras."""

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tlkeras.config.data import DataConfig
from tlkeras.data.input_shapes import Shape
from tlkeras.data.modalities import MODALITIES
from tlkeras.registry import Registry, function_at

# Rates for fine-tuning the last blocks with Adam. At the usual rate, a transformer loses what it has learned
# within an epoch, and so does a MobileNetV2 at a rate of 1e-3 (docs/measured.md).
USUAL_RATE, LOW_RATE = 3e-4, 5e-5
NUMBERED_BLOCKS = ((r"^((?:stage_?\d+_)?[a-z]+_?\d+)(?![0-9])", r"\1"), (r"^(stem|top)(?:_|$)", r"\1"))


@dataclass(frozen=True)
class Family:
    """What the members of a family of backbones share.

    Attributes:
        preprocessing: Key of `tlkeras.models.backbones.preprocessing.MODES`.
        block_names: Pairs (pattern, template) that convert layer names to block names, the most specific
            first. The first pair that matches a layer between two cut points names this segment. A segment
            without a name joins the block before it. By default `stem`, `top` and words with a number begin
            a block: `block_3_norm` belongs to `block_3`, `stage_1_block_2_conv` to `stage_1_block_2`. If
            there are no pairs, each segment with weights is a block, named after its first layer with
            weights. Segments that only normalise join the block before them.
        weights_file: Name of the file with ImageNet weights in Keras, with the placeholders `{name}`,
            `{app}` (the function's name in lower case), `{last}` (the last word of the name) and, for
            the MobileNets, `{alpha}`, `{alpha_}` and `{rows}`.
        weights_sides: Sides in pixels for which there are separate weights. The weights for 224 are used for
            all other image sizes.
        min_size: Smallest side of an image in pixels that the network accepts.
        live_tensors: Number of tensors that may cross a cut. It is 2 for NASNet, whose cells read the
            outputs of the two cells before them.
        pooling: Pooling of the neck if a config has none, which is the one that the family's paper probes
            with.
        pads: Whether the backbone returns tokens, of which those of padding are zero.
        tensor_names: Names of its weights in other libraries: (pattern, template) for `re.sub`, to the name
            of a layer here followed by `.weight`, `.bias`, `.running_mean` or `.running_var`.
        fit_tensors: Called with the `Tensors` of a checkpoint and the model, where renaming is not enough.
        fit_layer: Called with the name of a layer whose weights in a Keras model, such as that of a run, have
            other shapes, and with the layers of this and of the other network by name. Returns the weights
            for the layer, such as a resized table of positions, or None.
        sample_rate: Samples per second of the sounds that it takes; 0 for any rate and for other inputs.
        rate: Learning rate for fine-tuning the last blocks with Adam, above 0, which
            `learning_rate="recommended"` means.
        stated_epsilon: Pattern of the names of those layer norms whose epsilon the `layer_norm_eps` of
            transformers is; all by default.
    """

    preprocessing: str = "identity"
    block_names: tuple[tuple[str, str], ...] = NUMBERED_BLOCKS
    weights_file: str = ""
    weights_sides: tuple[int, ...] = ()
    min_size: int = 32
    live_tensors: int = 1
    pooling: str = "avg"
    pads: bool = False
    tensor_names: tuple[tuple[str, str], ...] = ()
    fit_tensors: Callable | None = None
    fit_layer: Callable | None = None
    sample_rate: int = 0
    rate: float = USUAL_RATE
    stated_epsilon: str = ".*"


PLAIN = Family()


@dataclass(frozen=True)
class Backbone:
    """The facts about a backbone that are known without building it.

    Attributes:
        name: Registered name.
        builder: Function that builds the backbone, or its place as `module:function`. It is called with
            `input_shape` and, in keras.applications, with `include_top=False` and `weights`. For several
            inputs it gets a dict of shapes, and returns a model with a dict of inputs of the same names.
        family: Family with the preprocessing and the names of blocks and weight files.
        size: Default side of the input image in pixels, or 0 for vectors.
        parameters: Number of parameters without top with default options, or None if it depends on the data.
        grad_cam: Name of the layer whose output Grad-CAM uses (Selvaraju et al. 2017). If empty, it is the
            last layer with spatial outputs.
        blocks: Names of the blocks from input to output with default options. `block2a..c` means block2a,
            block2b, block2c. Empty if the names are only known after the backbone is built.
        weights_package: Installable package with the ImageNet weights. Empty if Keras has the weights or if
            there are none.
        input: Modality of its inputs, a name in `MODALITIES`. `any` means images and vectors.
        arguments: Keyword arguments of the builder for this member of the family. `backbone_options` of a
            config override them.
        licence: Licence of the weights that are usually meant by this name; empty where Keras or a package
            brings them.
        million_macs: Millions of multiply-adds (MACs) for one image of the default size, or None if there is
            no such image. Norms, activations and biases do not count.
        top1: Accuracy on ImageNet in percent of the weights that are usually meant by this name, as Keras,
            timm or their authors published it. None if they have no classifier.
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
    million_macs: int | None = None
    top1: float | None = None

    @property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks, from input to output."""
        return tuple(name for word in self.blocks.split() for name in _expand(word))

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.block_names)

    def prefix_tokens(self, options: Mapping[str, Any]) -> int:
        """Returns the number of tokens (class token, registers) before those of the patches.

        It is the builder's argument of this name, and 0 for a builder without it.

        Args:
            options: `backbone_options` of a config.
        """
        parameter = inspect.signature(self.function).parameters.get("prefix_tokens")
        return options.get("prefix_tokens", 0 if parameter is None else parameter.default)

    @property
    def is_application(self) -> bool:
        """Whether keras.applications builds it."""
        return self.where.startswith("keras.applications:")

    @property
    def where(self) -> str:
        """Place of the builder as `module:function`."""
        if isinstance(self.builder, str):
            return self.builder
        return f"{self.builder.__module__}:{self.builder.__qualname__}"

    @property
    def function(self) -> Callable:
        """Returns the builder with the arguments of this member. It imports the module."""
        builder = function_at(self.builder)
        return functools.partial(builder, **self.arguments) if self.arguments else builder

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities that the backbone takes, the usual one first."""
        return ("image", "vector") if self.input == "any" else (self.input,)

    def input_shape(self, config: DataConfig) -> Shape:
        """Returns the shape of one input from the config alone, if the data cannot be read.

        Args:
            config: Config of the data.
        """
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
"""Backbones that `model.backbone` can name."""

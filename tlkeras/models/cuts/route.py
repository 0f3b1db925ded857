"""How inputs pass a model whose backbone is frozen up to a cut."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import ops

from tlkeras.backend import compat
from tlkeras.models.cuts.cut_points import Block, CutPoint, find_cut_points, split
from tlkeras.models.cuts.folding import Folded


@dataclass(frozen=True)
class Route:
    """How inputs pass backbone and neck in the current stage; kept out of Keras' tracking of layers.

    Where the whole backbone is frozen, the neck's layers without weights (pooling) are fixed as well:
    `fixed_neck` holds them, and `neck` what is left of it.
    """

    cut: CutPoint | None
    trunk: keras.Model | None
    tail: keras.Model | None
    tail_trains: bool
    fixed_neck: keras.Model | None
    neck: keras.Model

    @functools.cached_property
    def folded_trunk(self) -> Folded:
        return Folded(self.trunk)

    @functools.cached_property
    def folded_tail(self) -> Folded:
        return Folded(self.tail)

    def to_cut(self, x):
        """Returns the trunk's output for preprocessed inputs."""
        return x if self.trunk is None else self.folded_trunk(x, training=False)

    def through_tail(self, x, training):
        """Returns the backbone's output for the trunk's."""
        if self.tail is None:
            return x
        return self.folded_tail(x, training=training if self.tail_trains else False)

    def after_cut(self, x, training):
        """Returns the neck's output for what `TransferModel.trunk` puts out."""
        (expected,) = (self.tail or self.neck).inputs
        x = ops.cast(x, expected.dtype)  # features may be kept in half precision
        return self.neck(self.through_tail(x, training), training=training)


def route_for(
    backbone: keras.Model, neck: keras.Model, blocks: Sequence[Block], first: int, tail_trains: bool
) -> Route:
    """Returns the route of a stage.

    Args:
        backbone: A functional model.
        neck: Backbone output to features.
        blocks: The backbone's blocks, from input to output.
        first: Index of the first block that trains; their number where none does.
        tail_trains: Whether what stands after the cut is called in training mode by `fit`.
    """
    if first == 0 and blocks:
        return Route(None, None, backbone, tail_trains, None, neck)
    if first == len(blocks):
        (output,) = backbone.outputs
        cut = CutPoint(_producer(output), (output,))
        return Route(cut, backbone, None, tail_trains, *_split_neck(neck))
    cut = blocks[first - 1].cut
    return Route(cut, *split(backbone, cut), tail_trains, None, neck)


def _split_neck(neck: keras.Model) -> tuple[keras.Model | None, keras.Model]:
    """Returns the neck's first layers, as far as they have no variables, and the rest of it.

    A layer that draws random numbers has the state of its generator as a variable.
    """
    fixed = None
    for cut, layers in find_cut_points(neck):
        if any(x.variables for x in layers if isinstance(x, keras.layers.Layer)):
            break
        if not isinstance(layers[-1], keras.layers.Identity):  # so that the trunk is the same with dropout
            fixed = cut
    if fixed is None or fixed.tensors[0] is neck.inputs[0]:
        return None, neck
    return split(neck, fixed)


def _producer(tensor) -> str:
    return compat.producer_of(tensor).name

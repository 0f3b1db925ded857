"""The route of inputs through a model whose backbone is frozen up to a cut."""

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
    """The route of inputs through backbone and neck in the current stage. Keras does not track it.

    If the whole backbone is frozen, the layers of the neck without weights (pooling) are fixed as well. They
    are in `fixed_neck`, and the other layers are in `neck`.
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
        """Returns the output of the trunk for preprocessed inputs."""
        return x if self.trunk is None else self.folded_trunk(x, training=False)

    def through_tail(self, x, training, instead=lambda operation: operation):
        """Returns the output of the backbone for the output of the trunk; `instead` as in `Folded`."""
        if self.tail is None:
            return x
        return self.folded_tail(x, training if self.tail_trains else False, instead)

    def after_cut(self, x, training):
        """Returns the output of the neck for the output of `TransferModel.trunk`."""
        (expected,) = (self.tail or self.neck).inputs
        x = ops.cast(x, expected.dtype)  # features may be stored in half precision
        return self.neck(self.through_tail(x, training), training=training)


def route_for(
    backbone: keras.Model, neck: keras.Model, blocks: Sequence[Block], first: int, tail_trains: bool
) -> Route:
    """Returns the route of a stage.

    Args:
        backbone: Functional model.
        neck: Model from the output of the backbone to features.
        blocks: Blocks of the backbone, from input to output.
        first: Index of the first block that trains, or the number of blocks if none trains.
        tail_trains: Whether `fit` calls the part after the cut in training mode.
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
    """Returns the first layers of the neck that have no variables, and the rest of the neck.

    A layer that draws random numbers has a variable with the state of its generator.
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

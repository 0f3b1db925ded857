"""Everything that determines features: the trunk, the rows, and the way in which the rows are read."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np
from keras import ops

from tlkeras.backend.devices import what_rounds
from tlkeras.config import AugmentConfig
from tlkeras.data import Domain, Rows, batches_of_blocks
from tlkeras.data.input_shapes import shape_as_json
from tlkeras.maybe import MaybeNone


@dataclass(frozen=True, eq=False)
class Request:
    """One split, or one fixed augmented view of it, whose features are wanted.

    Attributes:
        rows: Rows of the split.
        domain: Domain of the rows.
        split: Name of the split: `train`, `val` or `test`.
        augment: Settings of the augmentation that makes a view, or None for no augmentation.
        seed: Seed of the augmentation.
        view: Number of the view, or None for no augmentation.
    """

    rows: Rows
    domain: Domain
    split: str
    augment: AugmentConfig | MaybeNone = None
    seed: int = 0
    view: int | None = None

    @cached_property
    def facts(self) -> dict:
        """Everything but the trunk and the extractor that determines the features."""
        config = self.domain.config
        view = None if self.view is None else [self.augment.model_dump(), self.seed, self.view]
        turned = {"turned": True} if self.domain.turns_pictures else {}
        # distinguishes these features from earlier ones, for which silence and black pictures were missing
        several = self.rows.inputs.dtype.names is not None and self.rows.encoded is not None
        there = {"zeros in files": "there"} if several else {}
        return {
            **turned,
            **there,
            "data": self.rows.fingerprint(),
            "split": self.split,
            "input_shape": shape_as_json(self.domain.input_shape),
            # "half up" distinguishes these features from those of an earlier rounding of windows
            "resize": [config.resize, config.interpolation, config.crop_fraction, "half up"],
            "view": view,
        }

    def batches(self, blocks: Callable[[], Iterable], count: int, width: int):
        """Returns the inputs of blocks of rows; see `tlkeras.data.batches_of_blocks`."""
        return batches_of_blocks(
            self.rows, self.domain, blocks, count=count, width=width, augment=self.augment, seed=self.seed,
            view=self.view,
        )  # fmt: skip


def identity_of(trunk: keras.Model) -> dict:
    """Returns digests of a trunk's config and weights, and facts on which its rounding depends."""
    config = json.dumps(_without_trainable(trunk.get_config()), sort_keys=True, default=str)
    digest = hashlib.sha256()
    for variable in trunk.variables:
        if "seed" not in variable.path.rsplit("/", 1)[-1]:  # the state of dropout, which a trunk does not use
            digest.update(np.ascontiguousarray(ops.convert_to_numpy(variable)).tobytes())
    return {
        "config": hashlib.sha256(config.encode()).hexdigest(),
        "weights": digest.hexdigest(),
    } | what_rounds()


def _without_trainable(value):
    if isinstance(value, dict):
        return {k: _without_trainable(v) for k, v in value.items() if k != "trainable"}
    return [_without_trainable(v) for v in value] if isinstance(value, list | tuple) else value

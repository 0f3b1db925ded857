"""What a way of regularised fine-tuning is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from tlkeras.config import ModelConfig, StageConfig
from tlkeras.data import Domain
from tlkeras.errors import UserError
from tlkeras.registry import Registry


class Batch(NamedTuple):
    """One replica's rows in a training step.

    Attributes:
        x: What the model is fed.
        labels: As the loss takes them.
        features: The neck's output `(b, d)`.
        logits: float32 `(b, outputs)`.
    """

    x: Any
    labels: Any
    features: Any
    logits: Any


@dataclass(frozen=True)
class Setting:
    """What a regularizer acts on.

    Attributes:
        model: The transfer model, with the stage selected.
        stage: The stage.
        source: Of the backbone: its name and where its weights come from.
        domain: The training data.
        start: Values of the model's variables before the run's first stage, by variable path.
        seed: The run's seed.
        add_weight: Makes a variable that is trained, saved and resumed with the stage's model.
    """

    model: Any
    stage: StageConfig
    source: ModelConfig
    domain: Domain
    start: Mapping[str, np.ndarray]
    seed: int
    add_weight: Callable

    @property
    def backbone_variables(self) -> list:
        """The backbone's variables that the stage trains."""
        own = {id(v) for v in self.model.backbone.variables}
        return [v for v in self.model.trainable_variables if id(v) in own]

    def start_copies(self, variables) -> list:
        """Returns a fixed copy of the start value of each variable.

        They are no part of any model: nothing saves them, since they follow from the run's start.
        """
        copies = []
        for variable in variables:
            value = self.start.get(variable.path)
            value = keras.ops.convert_to_numpy(variable) if value is None else value
            copies.append(keras.Variable(value, trainable=False, dtype=variable.dtype, name="start"))
        return copies


class Regularizer:
    """Base class: plain fine-tuning.

    Attributes:
        default_weight: The weight where the config leaves it open.
        needs_backbone: Whether it is senseless on a stage that trains only neck and head.
        needs_inputs: Whether it looks at raw inputs, so that features cannot take their place.

    Args:
        weight: The factor of `loss`, or what the subclass says.
    """

    default_weight = 0.01
    needs_backbone = True
    needs_inputs = False

    def __init__(self, weight: float | None = None):
        self.weight = self.default_weight if weight is None else float(weight)

    def prepare(self, setting: Setting) -> None:
        """Takes what it needs from the model as the stage begins."""

    def begin(self) -> None:
        """Called before the first step of a process, after what an earlier one left was restored."""

    def forward(self, model, x, step):
        """Returns `(features, logits)` of a training step.

        Args:
            model: The transfer model.
            x: Its inputs.
            step: Number of the optimizer step, an int tensor.
        """
        features = model.features(x, training=True)
        return features, model.classify(features, training=True)

    def loss(self, batch: Batch):
        """Returns a scalar that is added times `weight`: a mean over the replica's rows; None adds none."""
        return

    def after_update(self) -> None:
        """Called in each replica after the optimizer has moved the variables."""

    def trained(self, variables: list) -> list:
        """Returns which of the trainable variables the optimizer moves."""
        return variables


REGULARIZERS: Registry[type[Regularizer]] = Registry("regularizer")


def make_regularizer(name: str, weight: float | None = None, options: Mapping | None = None) -> Regularizer:
    """Returns a regularizer by name.

    Raises:
        UserError: An unknown name, or options that it does not have.
    """
    kind = REGULARIZERS.get(name)
    try:
        return kind(weight, **(options or {}))
    except TypeError as error:
        raise UserError(
            f"The regularizer {name} refuses its options: {error}. Received: {options}"
        ) from error

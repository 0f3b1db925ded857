"""A term: what a stage adds to the class loss, or does in its place."""

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import keras
import numpy as np

from tlkeras.backend.distributed_fit import scale_for_replicas
from tlkeras.config import ModelConfig, StageConfig
from tlkeras.data import Domain
from tlkeras.data.input_shapes import Shape


class Pair(NamedTuple):
    """The same quantity on the labelled rows and on the unlabelled target rows of one step.

    `target` is None in a stage without a target.
    """

    source: Any
    target: Any


@dataclass(frozen=True)
class Setting:
    """What a term acts on.

    Attributes:
        model: Has `features(x, training)` `(n, d)` and `classify(features, training)` `(n, outputs)`;
            in a run it is the transfer model, with the stage selected.
        seed: The run's seed.
        steps: Training steps of the stage.
        input_shape: Shape of one input row, or a dict of shapes.
        stage: The stage; None outside a run.
        source: The backbone's name and where its weights come from; None outside a run.
        domain: The labelled training data; None outside a run.
        start: Values of the model's variables before the run's first stage, by variable path.
    """

    model: Any
    seed: int = 0
    steps: int = 1
    input_shape: Shape = ()
    stage: StageConfig | None = None
    source: ModelConfig | None = None
    domain: Domain | None = None
    start: Mapping[str, np.ndarray] = field(default_factory=dict)

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


class Term:
    """Base class of all terms: adds nothing.

    A training step computes `class loss + sum of weight * loss` over its terms. A subclass writes
    `loss(...)`. The names of its parameters declare what the step supplies:

    - `inputs`: the labelled rows as the model takes them, `(n, ...)`;
    - `labels`: theirs, as the class loss takes them;
    - `features`, `logits`: each a `Pair` of float32 `(n, d)` and `(n, outputs)`;
    - `strong_logits`: logits of the target's second view, `(n, outputs)`;
    - `second_logits`, `second_labels`: of the rows of a second labelled batch.

    There are no target labels. Layers, variables and metrics that a term trains, saves and resumes with
    the stage hang on `own`; whatever else it holds is invisible to the model.

    Attributes:
        name: What messages call it.
        weight: Factor of `loss`.
        gathers: Whether `loss` is no mean over rows, and so must see the rows of all replicas.
        passes_rows: Whether it has a `forward` of its own; one term of a step may.
        takes_second_batch: Whether a step takes a second labelled batch, whose rows pass with the first.
        needs_inputs: Whether it looks at raw inputs, so that cached features cannot take their place.
        critic_steps: How often per step `critic_loss(features)` is minimised over `critic_variables` with
            `critic_optimizer` before `loss` is taken.
        own: The layer that holds what is trained, saved and resumed.
    """

    name = "term"
    weight = 1.0
    gathers = False
    passes_rows = False
    takes_second_batch = False
    needs_inputs = False
    critic_steps = 0
    critic_optimizer = None

    def __init__(self, own_name: str = "term"):
        # losses and heads are small and want float32 whatever the model's precision
        self.own = keras.layers.Layer(name=own_name, dtype="float32")
        self.own.built = True

    def prepare(self, setting: Setting) -> None:
        """Takes what it needs from the model, and makes its own variables, as the stage begins."""

    def begin(self) -> None:
        """Called before the first step of a process, after what an earlier one left was restored."""

    def compiled(self, model: keras.Model) -> None:
        """Called when the training model has its optimizer."""

    def before_step(self) -> None:
        """Called in each replica at the start of a step."""

    def forward(self, model, x, step):
        """Returns `(features, logits)` of a training step; asked only where `passes_rows`.

        Args:
            model: The transfer model.
            x: Its inputs; a pair of them where the term takes a second batch, and then so are the results.
            step: Number of the optimizer step, an int tensor.
        """
        return outputs_of(model, x)

    def pass_domains(self, run, x, views):
        """Returns features and logits of labelled rows and target views, `[x; view; ...]` in one batch.

        Args:
            run: Takes inputs, returns `(features, logits)`.
            x: The labelled inputs.
            views: The target's inputs, one array per view.
        """
        return run(one_batch([x, *views]))

    def row_weights(self, labels):
        """Returns factors `(n,)` of the class loss per labelled row, or None for 1."""
        return

    def loss(self):
        """Returns a float32 scalar, or None where there is nothing to add. Subclasses name what they need."""
        return

    def value(self, supplied: Mapping):
        """Returns `loss`, given all that a step supplies."""
        return self.loss(**{name: supplied[name] for name in self.needs})

    def add_to(self, loss, value):
        """Returns the step's loss so far with this term's value in it."""
        return loss + scale_for_replicas(self.weight * value)

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the term's metrics.

        Args:
            value: What `loss` returned.
            class_loss: The mean over the replica's labelled rows.
            labels: As the class loss takes them.
            logits: A `Pair` of this replica's logits.
        """

    def after_update(self) -> None:
        """Called in each replica after the optimizer has moved the variables."""

    def trained(self, variables: list) -> list:
        """Returns which of the trainable variables the optimizer moves."""
        return variables

    def validation(self) -> AbstractContextManager:
        """Returns a context in which the model answers for the labelled domain."""
        return nullcontext()

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns what watches a `fit` with this term."""
        return []

    @property
    def needs(self) -> tuple[str, ...]:
        """The names that `loss` asks for."""
        return tuple(inspect.signature(self.loss).parameters)

    @property
    def target_views(self) -> int:
        """How many views of each target row a step takes; 0 is a stage without a target."""
        return 0

    @property
    def critic_variables(self) -> list:
        """Variables that only the inner critic steps train."""
        return []

    @property
    def further_variables(self) -> list:
        """State that Keras does not track and a checkpoint must hold: that of a critic's own optimizer."""
        return [] if self.critic_optimizer is None else list(self.critic_optimizer.variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics that are shown while training."""
        return self.own.metrics


def one_batch(parts):
    """Returns inputs one behind the other, `[x; view; ...]`; each part is a tensor, or a dict of tensors."""
    return keras.tree.map_structure(lambda *tensors: keras.ops.concatenate(tensors), *parts)


def number_of_rows(x):
    """Returns the number of rows of inputs, which are a tensor or a dict of tensors."""
    return keras.ops.shape(keras.tree.flatten(x)[0])[0]


def outputs_of(model, x):
    """Returns features and logits of a model in training."""
    features = model.features(x, training=True)
    return features, model.classify(features, training=True)

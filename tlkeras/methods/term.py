"""The base class of terms. A stage adds the losses of its terms to the class loss."""

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
from tlkeras.maybe import MaybeNone


class Pair(NamedTuple):
    """The same quantity on the labelled rows and on the unlabelled target rows of one step.

    `target` is None in a stage without a target.
    """

    source: Any
    target: Any


@dataclass(frozen=True)
class Setting:
    """The model, the stage and the data with which a term works.

    Attributes:
        model: Model with `features(x, training)` `(n, d)` and `classify(features, training)`
            `(n, outputs)`. In a run it is the transfer model with the stage selected.
        seed: Seed of the run.
        steps: Number of training steps of the stage.
        input_shape: Shape of one input row, or a dict of shapes.
        stage: Config of the stage, or None outside of a run.
        model_config: Config with the name of the backbone and the origin of its weights, or None outside of
            a run.
        domain: Labelled training data, or None outside of a run.
        start: Values of the model's variables before the first stage of the run, by variable path.
    """

    model: Any
    seed: int = 0
    steps: int = 1
    input_shape: Shape = ()
    stage: StageConfig | MaybeNone = None
    model_config: ModelConfig | MaybeNone = None
    domain: Domain | MaybeNone = None
    start: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def backbone_variables(self) -> list:
        """Backbone variables that the stage trains."""
        own = {id(v) for v in self.model.backbone.variables}
        return [v for v in self.model.trainable_variables if id(v) in own]

    def start_copies(self, variables) -> list:
        """Returns a fixed copy of the start value of each variable.

        The copies belong to no model and are not saved, because the start of the run determines them.
        """
        copies = []
        for variable in variables:
            value = self.start.get(variable.path)
            value = keras.ops.convert_to_numpy(variable) if value is None else value
            copies.append(keras.Variable(value, trainable=False, dtype=variable.dtype, name="start"))
        return copies


class Term:
    """The base class of all terms, which adds nothing to the loss.

    A training step computes `class loss + sum of weight * loss` over its terms. A subclass defines
    `loss(...)`. The names of its parameters declare the quantities that it needs:

    - `inputs`: inputs of the labelled rows, `(n, ...)`;
    - `labels`: labels of these rows, in the form of the class loss;
    - `features`, `logits`: each a `Pair` of float32 `(n, d)` and `(n, outputs)`;
    - `strong_logits`: logits of the target's second view, `(n, outputs)`;
    - `second_logits`, `second_labels`: logits and labels of a second labelled batch.

    There are no target labels. Layers, variables and metrics that belong to `own` are trained, saved and
    resumed with the stage. Other attributes of a term are not visible to the model.

    Attributes:
        name: Name in messages.
        weight: Factor of `loss`.
        gathers: Whether `loss` needs the rows of all replicas, because it is not a mean over rows.
        passes_rows: Whether the term has its own `forward`. Only one term of a step may have one.
        takes_second_batch: Whether a step takes a second labelled batch, which passes the network together
            with the first.
        needs_inputs: Whether the term uses raw inputs, so that the stage cannot train on cached features.
        critic_steps: Number of inner steps in which `critic_loss(features)` is minimised over
            `critic_variables` with `critic_optimizer`, before `loss` is computed.
        own: Layer with everything that is trained, saved and resumed.
    """

    name = "term"
    weight = 1.0
    gathers = False
    passes_rows = False
    takes_second_batch = False
    needs_inputs = False
    critic_steps = 0
    critic_optimizer: Any = None

    def __init__(self, own_name: str = "term"):
        # losses and heads are small and need float32 for every precision of the model
        self.own = keras.layers.Layer(name=own_name, dtype="float32")
        self.own.built = True

    def prepare(self, setting: Setting) -> None:
        """Prepares the term at the beginning of the stage, and creates its variables."""

    def begin(self) -> None:
        """Is called before the first step of a process, after the state of an earlier process is restored."""

    def compiled(self, model: keras.Model) -> None:
        """Is called when the training model has its optimizer."""

    def before_step(self) -> None:
        """Is called in each replica at the start of a step."""

    def forward(self, model, x, step):
        """Returns `(features, logits)` of a training step. It is called only if `passes_rows`.

        Args:
            model: Transfer model.
            x: Inputs of the model. If the term takes a second batch, inputs and results are pairs.
            step: Number of the optimizer step, an int tensor.
        """
        return outputs_of(model, x)

    def pass_domains(self, run, x, views):
        """Returns features and logits of labelled rows and target views, concatenated to `[x; view; ...]`.

        Args:
            run: Function from inputs to `(features, logits)`.
            x: Inputs of the labelled rows.
            views: Inputs of the target, one array per view.
        """
        return run(one_batch([x, *views]))

    def row_weights(self, labels):
        """Returns factors `(n,)` of the class loss for the labelled rows, or None for 1."""
        return

    def loss(self, *args: Any, **supplied: Any) -> Any:
        """Returns a float32 scalar, or None if there is nothing to add.

        Subclasses name the quantities that they need as parameters.
        """
        return

    def value(self, supplied: Mapping):
        """Returns `loss` for the quantities of a step."""
        return self.loss(**{name: supplied[name] for name in self.needs})

    def add_to(self, loss, value):
        """Returns the loss of the step so far plus the weighted value of this term."""
        return loss + scale_for_replicas(self.weight * value)

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the term's metrics.

        Args:
            value: Value that `loss` returned.
            class_loss: Mean class loss over the labelled rows of the replica.
            labels: Labels in the form of the class loss.
            logits: `Pair` of the logits of this replica.
        """

    def after_update(self) -> None:
        """Is called in each replica after the optimizer has updated the variables."""

    def trained(self, variables: list) -> list:
        """Returns those of the trainable variables that the optimizer updates."""
        return variables

    def validation(self) -> AbstractContextManager:
        """Returns a context in which the model predicts for the labelled domain."""
        return nullcontext()

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns the callbacks that a `fit` with this term needs."""
        return []

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the quantities that `loss` needs."""
        parameters = inspect.signature(self.loss).parameters.values()
        return tuple(p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))

    @property
    def target_views(self) -> int:
        """Number of views of each target row in a step. It is 0 without a target."""
        return 0

    def critic_loss(self, features: Pair):
        """Returns the loss of one inner step, a scalar.

        Args:
            features: Features of both domains, `(n, d)` each, through which no gradient passes.
        """
        raise NotImplementedError(f"{type(self).__name__} has inner steps and no critic_loss")

    @property
    def critic_variables(self) -> list:
        """Variables that are trained only in the inner critic steps."""
        return []

    @property
    def further_variables(self) -> list:
        """State that Keras does not track and a checkpoint needs, such as that of a critic's optimizer."""
        return [] if self.critic_optimizer is None else list(self.critic_optimizer.variables)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Metrics that are shown while training."""
        return self.own.metrics


def one_batch(parts):
    """Concatenates inputs to `[x; view; ...]`. Each part is a tensor or a dict of tensors."""
    return keras.tree.map_structure(lambda *tensors: keras.ops.concatenate(tensors), *parts)


def number_of_rows(x):
    """Returns the number of rows of inputs. They are a tensor or a dict of tensors."""
    return keras.ops.shape(keras.tree.flatten(x)[0])[0]


def outputs_of(model, x):
    """Returns features and logits of a model in training."""
    features = model.features(x, training=True)
    return features, model.classify(features, training=True)

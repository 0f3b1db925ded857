"""The base class of adaptation methods: terms on features, logits and labels of two domains."""

import inspect
from typing import Any

import keras
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.distributed_fit import scale_for_replicas
from tlkeras.config.adaptation import StrengthConfig
from tlkeras.errors import UserError, unknown
from tlkeras.maybe import MaybeNone
from tlkeras.methods.adapt import alignment
from tlkeras.methods.adapt.class_histogram import ClassHistogram
from tlkeras.methods.adapt.domain_statistics import DomainStatistics
from tlkeras.methods.adapt.gradient_guard import GradientGuard
from tlkeras.methods.adapt.gradient_reversal import GradientReversal
from tlkeras.methods.adapt.strength import strength_schedule
from tlkeras.methods.term import Pair, Setting, Term, one_batch
from tlkeras.models.tap import probe_features
from tlkeras.registry import Registry

METHODS: Registry[type["Method"]] = Registry("adaptation method")
"""Methods that `adaptation.method` can name."""


class Method(Term):
    """A distance D between domains, with its heads and its state.

    The step adds `weight * D` to the class loss. The weight is multiplied by the strength. If the method has
    a reversal layer, the strength acts in this layer instead. `loss` may have a parameter `strength`, a
    float32 scalar.

    Attributes:
        reversal: Gradient reversal layer of the method, or None.
        min_classes: Smallest number of classes for which the method is meaningful.
        schedule: Name of the default schedule of the strength.
        needs_source_model: Whether the class loss ends when the strength rises, so that a classifier must be
            trained before.
        acts_on_features: Whether D acts through the features, so that layers before them must train.
        strength_at: Function from the fraction of finished steps to the strength.
        batch_norm: Kind of statistics: `shared`, `domain_specific` or `adabn`; see `AdaptationConfig`.
    """

    min_classes = 1
    schedule = "ganin"
    needs_source_model = False
    acts_on_features = True
    reversal: GradientReversal | MaybeNone = None
    batch_norm = "shared"

    def __init__(self):
        super().__init__("adaptation_method")
        self.seed, self.steps = 0, 1
        self.strength_at = strength_schedule(StrengthConfig(), self.schedule)
        self.statistics: DomainStatistics | None = None

    @property
    def name(self) -> str:
        """Registered name."""
        return next(
            (name for name in METHODS.names() if METHODS.get(name) is type(self)), type(self).__name__
        )

    @property
    def is_none(self) -> bool:
        """Whether D is always 0."""
        return type(self) is METHODS.get("none")

    def prepare(self, setting: Setting) -> None:
        """Builds heads, state and metrics.

        Args:
            setting: Model, stage and data with which the method trains.

        Raises:
            UserError: There is no trainable variable before the features, so that D has no effect, or the
                model has too few outputs.
        """
        features, classes = self._probed(setting)
        self.steps = setting.steps
        self.build_heads(features, classes, setting.seed)
        if self.reversal is not None:
            self.reversal.gradient_norm.gathered = self.gathers
        own = self.own
        own.step = own.add_weight(
            name="adaptation_step", shape=(), dtype="int32", initializer="zeros", trainable=False,
            aggregation="only_first_replica",
        )  # fmt: skip
        if self.batch_norm == "domain_specific":
            own.statistics = self.statistics = DomainStatistics(setting.model)
        own.class_loss = keras.metrics.Mean(name="class_loss")
        own.distance = keras.metrics.Mean(name="alignment")
        own.applied_strength = keras.metrics.Mean(name="strength")
        own.histogram = ClassHistogram(classes) if classes > 1 and self.target_views else None

    def build_heads(self, features: int, classes: int, seed: int) -> None:
        """Builds the heads for inputs `(n, features)` and `(n, classes)`, initialised with `seed`.

        Args:
            features: Number of features of a row.
            classes: Number of logits of a row.
            seed: Seed of the initial weights.
        """
        self.seed = seed
        self.make_heads(features, classes)

    def make_heads(self, features: int, classes: int) -> None:
        """Creates extra heads and state on `own`. Most methods have none.

        Args:
            features: Number of features of a row.
            classes: Number of logits of a row.
        """

    def _probed(self, setting: Setting) -> tuple[int, int]:
        """Returns the widths of features and logits, after a check that D can have an effect."""
        shape, outputs, moves = probe_features(setting.model, setting.input_shape)
        if len(shape) != 2:
            raise UserError(f"Features must be (n, d). Received: shape {shape}")
        if self.acts_on_features and not moves and not self.is_none:
            raise UserError(
                "Adaptation cannot change the features: the backbone is frozen, and there is no "
                "trainable layer before the features. Train blocks (stages.N.train='last:1') or set "
                "model.neck.bottleneck=256. Received: 0 trainable variables before the features"
            )
        if outputs < self.min_classes:
            raise UserError(
                f"{type(self).__name__} needs at least {self.min_classes} logits. Received: {outputs}"
            )
        return shape[-1], outputs

    def before_step(self) -> None:
        """Sets the strength of this step from the fraction of finished steps."""
        step = self.own.step
        self.strength = self.strength_at(ops.cast(step, "float32") / max(self.steps, 1))
        if self.reversal is not None:
            self.reversal.strength.assign(self.strength)
        step.assign_add(1)

    def pass_domains(self, run, x, views):
        """Returns the outputs for all rows. With domain-specific statistics, each domain has its own pass.

        Args:
            run: Function from inputs to the outputs of the network.
            x: Inputs of all rows: source, target, further views of the target.
            views: Number of views of a target row.
        """
        if self.statistics is None:
            return super().pass_domains(run, x, views)
        with self.statistics.source():
            of_source = run(x)
        pairs = zip(of_source, run(one_batch(views)), strict=True)
        return tuple(ops.concatenate(pair) for pair in pairs)

    def row_weights(self, labels):
        """Returns `source_weights` at the strength of this step.

        Args:
            labels: Labels of the source rows.
        """
        return self.source_weights(labels, self.strength) if self.weight > 0 else None

    def source_weights(self, labels, strength):
        """Returns factors `(n,)` of the class loss for the source rows, or None for 1.

        Args:
            labels: Labels of the source rows.
            strength: Strength of the method at this step, a scalar.
        """
        return

    def loss(self, *args: Any, **supplied: Any) -> Any:
        """Returns D, a float32 scalar. Subclasses name the quantities that they need as parameters.

        Args:
            *args: Always empty, because quantities are passed by name.
            **supplied: Quantities of the step by name; see the class.

        Raises:
            NotImplementedError: A subclass does not define it.
        """
        raise NotImplementedError

    def value(self, supplied):
        """Returns D for the quantities of a step.

        Args:
            supplied: Quantities of the step by name, with those that `loss` asks for.
        """
        return super().value({**supplied, "strength": self.strength})

    def add_to(self, loss, value):
        """Returns the loss of the step so far plus `weight * D`, times the strength without a reversal.

        Args:
            loss: Loss of the step so far, a scalar.
            value: Value of D, a scalar.
        """
        pull = self.weight * (1.0 if self.reversal is not None else self.strength)
        return loss + scale_for_replicas(pull * value)

    def compiled(self, model) -> None:
        """Lets the reversal layer divide its measured gradient by the loss scale.

        Args:
            model: Model that has just been compiled.
        """
        if self.reversal is not None:
            self.reversal.loss_scale = lambda: model.optimizer.scale_loss(1.0)

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the metrics of adaptation.

        Args:
            value: Value of D, a scalar.
            class_loss: Class loss of the step, a scalar.
            labels: Labels of the source rows.
            logits: Logits of the rows by domain.
        """
        self.own.class_loss.update_state(class_loss)
        self.own.distance.update_state(value)
        self.own.applied_strength.update_state(self.strength)
        if self.own.histogram is not None:
            self.own.histogram.update_state(labels, logits.target)

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Class loss, D, strength, class shares and own metrics. Without D, class loss and shares."""
        own = self.own
        of_all = [own.class_loss, own.distance, own.applied_strength, own.histogram]
        shown = [own.class_loss, own.histogram] if self.is_none else list(of_all)
        if self.reversal is not None:
            shown.append(self.reversal.gradient_norm)
        shown += [metric for metric in compat.metrics_of(own) if metric not in of_all]
        return [metric for metric in shown if metric is not None]

    def validation(self):
        """Returns a context with the source's BatchNormalization statistics if each domain has its own."""
        return super().validation() if self.statistics is None else self.statistics.source()

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Returns a guard that stops the run if the reversal layer gets no gradient."""
        return [GradientGuard(self.reversal)] if self.weight > 0 and self.reversal is not None else []

    @property
    def target_views(self) -> int:
        """Number of views of each target row in a step."""
        return 2 if "strong_logits" in self.needs else 1

    def head(self, inputs: int, units, outputs: int, name: str, activation="relu"):
        """Returns a built multi-layer perceptron `inputs -> units -> outputs` without softmax, on `own`.

        Args:
            inputs: Number of inputs.
            units: Widths of the hidden layers.
            outputs: Number of outputs.
            name: Name of the head and prefix of its layers.
            activation: Activation of the hidden layers.
        """
        layers = [keras.Input((inputs,))]
        for index, size in enumerate((*units, outputs)):
            last = index == len(units)
            layers.append(
                keras.layers.Dense(
                    size,
                    activation=None if last else activation,
                    kernel_initializer=keras.initializers.GlorotUniform(seed=self.seed + index),
                    dtype="float32",
                    name=f"{name}_{index}",
                )
            )
        head = keras.Sequential(layers, name=name)
        setattr(self.own, name, head)
        return head

    def reverse(self) -> GradientReversal:
        """Returns the gradient reversal layer, held by `own`."""
        reversal = GradientReversal(name="gradient_reversal", dtype="float32")
        self.own.reversal = self.reversal = reversal
        return reversal


class Adversarial(Method):
    """A method with a domain classifier behind a gradient reversal layer.

    Args:
        units: Widths of the hidden layers of the domain classifier.
        activation: Activation of these layers.
    """

    def __init__(self, units=(1024, 1024), activation: str = "relu"):
        super().__init__()
        self.units, self.activation = tuple(units), activation
        self.own.domain_accuracy = self.domain_accuracy = keras.metrics.Mean(name="domain_accuracy")

    def make_heads(self, features, classes):
        self.reverse()
        inputs = self.domain_inputs(features, classes)
        self.domain_head = self.head(inputs, self.units, 1, "domain_head", self.activation)

    def domain_inputs(self, features: int, classes: int) -> int:
        """Returns the width of the inputs of the domain classifier."""
        return features

    def domain_loss(self, inputs: Pair, weights=None):
        """Returns the cross-entropy of the domain classifier behind the reversal, the mean over all rows."""
        rows = ops.concatenate([inputs.source, inputs.target])
        logits = self.domain_head(self.reversal(rows))
        source, target = split_rows(logits, inputs)
        self.count_right(source, target)
        return alignment.domain_cross_entropy(source, target, weights)

    def count_right(self, source_logits, target_logits) -> None:
        """Updates the accuracy of the domain classifier."""
        right = ops.concatenate([source_logits > 0, target_logits < 0])
        self.domain_accuracy.update_state(ops.cast(right, "float32"))


def split_rows(values, like: Pair):
    """Splits rows that were concatenated as `[source; target]`."""
    count = ops.shape(like.source)[0]
    return values[:count], values[count:]


def frozen_call(layer, inputs):
    """Calls `layer` with its weights as constants, so that they get no gradient."""
    constants = [(v, ops.stop_gradient(v.value)) for v in layer.variables]
    with keras.StatelessScope(state_mapping=constants):
        return layer(inputs)


def make_method(name: str, options: dict | None = None) -> Method:
    """Returns the method with the registered `name` and with `options` as its settings.

    Raises:
        UserError: The method or an option is unknown.
    """
    cls, options = METHODS.get(name), dict(options or {})
    allowed = list(inspect.signature(cls).parameters)
    for option in options:
        if option not in allowed:
            raise unknown(f"option of the adaptation method {name!r}", option, allowed or ["(none)"])
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"Bad options of {name!r}: {error}. Received: {options}") from error

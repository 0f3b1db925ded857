"""What every adaptation method is: a loss on features, logits and labels that says what it needs."""

import inspect
from typing import Any, NamedTuple

import keras
from keras import ops

from tlkeras.adaptation import alignment
from tlkeras.adaptation.gradient_reversal import GradientReversal
from tlkeras.errors import UserError, unknown
from tlkeras.registry import Registry

METHODS: Registry[type["Method"]] = Registry("adaptation method")


class Pair(NamedTuple):
    """The same quantity on the source rows and on the target rows of one step."""

    source: Any
    target: Any


class Method(keras.layers.Layer):
    """A distance between domains, D, and what it needs beside features, logits and labels.

    The step adds `weight * D` to the class loss; `weight` is multiplied by the strength unless the
    method has a reversal layer, in which the strength acts instead.

    A subclass writes `loss(...)`. The names of its parameters declare what the step supplies, all
    float32: `features` and `logits`, each a `Pair` of `(n, d)` and `(n, classes)`; `labels`, the
    source's; `strength`, a scalar; `strong_logits`, those of the target's second view;
    `copied_features`, the source rows' features by the second encoder. There are no target labels.

    Attributes:
        reversal: The method's gradient reversal layer, or None.
        gathers: Whether D is not a mean over rows, and so must see the rows of all replicas.
        critic_steps: How often per step `critic_loss(features)` is minimised over `critic_variables`
            with `critic_optimizer` before D is taken.
        min_classes: The fewest classes that give this method a meaning.
        schedule: That of the strength, where the config leaves it open.
        needs_source_model: Whether the class loss ends as the strength rises, so that a classifier must
            have been trained by then.
    """

    gathers = False
    critic_steps = 0
    min_classes = 1
    schedule = "ganin"
    needs_source_model = False
    reversal: GradientReversal | None = None

    def __init__(self):
        # losses and domain heads are small and want float32 whatever the model's precision
        super().__init__(name="adaptation_method", dtype="float32")
        self.seed = 0

    def prepare(self, features: int, classes: int, seed: int) -> None:
        """Builds the heads for `(n, features)` and `(n, classes)`, initialised from `seed`."""
        self.seed = seed
        self.make_heads(features, classes)
        self.built = True

    def make_heads(self, features: int, classes: int) -> None:
        """Creates extra heads and state; most methods have none."""

    def loss(self, **supplied):
        """Returns D, a float32 scalar. Subclasses name what they need as parameters."""
        raise NotImplementedError

    def source_weights(self, labels, strength):
        """Returns factors `(n,)` of the class loss per source row, or None for 1."""
        return

    @property
    def needs(self) -> frozenset[str]:
        """The names that `loss` asks for."""
        return frozenset(inspect.signature(self.loss).parameters)

    @property
    def target_views(self) -> int:
        """How many views of each target row a step takes."""
        return 2 if "strong_logits" in self.needs else 1

    @property
    def critic_variables(self) -> list:
        """Variables that only the inner critic steps train."""
        return []

    def head(self, inputs: int, units, outputs: int, name: str, activation="relu"):
        """Returns a built multi-layer perceptron `inputs -> units -> outputs` without softmax."""
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
        return keras.Sequential(layers, name=name)


class Adversarial(Method):
    """A method whose domain classifier is fooled through gradient reversal.

    Args:
        units: Sizes of the domain classifier's hidden layers.
        activation: Their activation.
    """

    def __init__(self, units=(1024, 1024), activation: str = "relu"):
        super().__init__()
        self.units, self.activation = tuple(units), activation
        self.domain_accuracy = keras.metrics.Mean(name="domain_accuracy")

    def make_heads(self, features, classes):
        self.reversal = GradientReversal(name="gradient_reversal", dtype="float32")
        inputs = self.domain_inputs(features, classes)
        self.domain_head = self.head(inputs, self.units, 1, "domain_head", self.activation)

    def domain_inputs(self, features: int, classes: int) -> int:
        """Returns the width of what the domain classifier sees."""
        return features

    def domain_loss(self, inputs: Pair, weights=None):
        """Cross-entropy of the domain classifier behind the reversal, averaged over all 2N rows."""
        rows = ops.concatenate([inputs.source, inputs.target])
        logits = self.domain_head(self.reversal(rows))
        source, target = split_rows(logits, inputs)
        self.measure(source, target)
        return alignment.domain_cross_entropy(source, target, weights)

    def measure(self, source_logits, target_logits) -> None:
        """Counts how often the domain classifier is right."""
        right = ops.concatenate([source_logits > 0, target_logits < 0])
        self.domain_accuracy.update_state(ops.cast(right, "float32"))


def split_rows(values, like: Pair):
    """Splits rows that were concatenated as `[source; target]`."""
    count = ops.shape(like.source)[0]
    return values[:count], values[count:]


def one_hot_labels(labels, classes: int):
    """Returns labels `(n,)`, `(n, 1)` or `(n, classes)` as `(n, classes)` float32."""
    if len(labels.shape) == 2 and labels.shape[-1] == classes and classes > 1:
        return ops.cast(labels, "float32")
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes)


def frozen_call(layer, inputs):
    """Calls `layer` as if its weights were constants, so that no gradient reaches them."""
    constants = [(v, ops.stop_gradient(v.value)) for v in layer.variables]
    with keras.StatelessScope(state_mapping=constants):
        return layer(inputs)


def make_method(name: str, options: dict | None = None) -> Method:
    """Returns the method registered as `name`, with `options` as its settings.

    Raises:
        UserError: For an unknown method or option.
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

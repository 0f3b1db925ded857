"""Adversarial methods: features are trained against a domain classifier or a critic."""

import keras
from keras import ops

from tlkeras.backend.gradients import recording
from tlkeras.methods.adapt import alignment
from tlkeras.methods.adapt.base import (
    METHODS,
    Adversarial,
    Method,
    Pair,
    frozen_call,
    split_rows,
)
from tlkeras.methods.adapt.class_histogram import one_hot_labels
from tlkeras.methods.adapt.domain_statistics import batch_norm_layers


@METHODS.register("dann")
class DANN(Adversarial):
    """Domain-adversarial training (Ganin et al. 2016, algorithm 1)."""

    def loss(self, features):
        return self.domain_loss(features)


@METHODS.register("cdan")
class CDAN(Adversarial):
    """Conditional adversarial training on the outer product of features and predictions.

    See Long et al. 2018, eq. 4 and 6. No gradient passes through the class probabilities. If the product
    would be wider than `max_width`, it is randomised.

    Args:
        units: Widths of the hidden layers of the domain classifier.
        activation: Activation of these layers.
        max_width: Largest width of the outer product, 4096 in the paper.
    """

    def __init__(self, units=(1024, 1024), activation: str = "relu", max_width: int = 4096):
        super().__init__(units, activation)
        self.max_width = max_width

    def domain_inputs(self, features, classes):
        return min(features * classes, self.max_width)

    def make_heads(self, features, classes):
        super().make_heads(features, classes)
        self.randomised = features * classes > self.max_width
        if self.randomised:
            normal = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
            shapes = {"features": (features, self.max_width), "classes": (classes, self.max_width)}
            self.projections = {
                name: self.own.add_weight(shape=shape, initializer=normal, trainable=False, name=name)
                for name, shape in shapes.items()
            }

    def conditioned(self, features, logits):
        """Returns the multilinear map of `(n, d)` and the class probabilities, `(n, width)`."""
        probabilities = ops.stop_gradient(ops.softmax(logits))
        if self.randomised:
            left = ops.matmul(features, self.projections["features"])
            right = ops.matmul(probabilities, self.projections["classes"])
            return left * right / self.max_width**0.5
        product = features[:, :, None] * probabilities[:, None, :]
        return ops.reshape(product, (-1, features.shape[1] * logits.shape[1]))

    def loss(self, features, logits):
        return self.domain_loss(Pair(*map(self.conditioned, features, logits)))


@METHODS.register("cdan_e")
class CDANE(CDAN):
    """CDAN with entropy weights `1 + exp(-H)`, so that confident predictions count more (eq. 7)."""

    gathers = True

    def loss(self, features, logits):
        weights = ops.concatenate([1 + ops.exp(-alignment.entropy_per_row(x)) for x in logits])
        weights = ops.stop_gradient(weights / ops.mean(weights))
        inputs = Pair(*map(self.conditioned, features, logits))
        return self.domain_loss(inputs, split_rows(weights, inputs))


@METHODS.register("pada")
class PADA(Adversarial):
    """Partial adversarial adaptation: source classes that the target lacks get small weights.

    See Cao et al. 2018, eq. 5-7. The class weights are the mean prediction on the target, averaged over steps
    and divided by its largest entry.

    Args:
        units: Widths of the hidden layers of the domain classifier.
        activation: Activation of these layers.
        momentum: Momentum of the average over steps.
    """

    min_classes = 2

    def __init__(self, units=(1024, 1024), activation: str = "relu", momentum: float = 0.99):
        super().__init__(units, activation)
        self.momentum = momentum

    def make_heads(self, features, classes):
        super().make_heads(features, classes)
        self.class_share = self.own.add_weight(
            shape=(classes,), initializer="ones", trainable=False, name="class_share", aggregation="mean"
        )

    def share_of_class(self, labels):
        """Returns the weight of each source row's class, at most 1, `(n,)`."""
        share = ops.convert_to_tensor(self.class_share)
        return ops.matmul(one_hot_labels(labels, share.shape[0]), share / ops.max(share))

    def source_weights(self, labels, strength):
        return ops.where(strength > 0, self.share_of_class(labels), 1.0)

    def loss(self, features, logits, labels):
        seen = ops.mean(ops.stop_gradient(ops.softmax(logits.target)), axis=0)
        self.class_share.assign(self.class_share * self.momentum + seen * (1 - self.momentum))
        weights = (self.share_of_class(labels), ops.ones_like(features.target[:, 0]))
        return self.domain_loss(features, weights)


@METHODS.register("adda")
class ADDA(Adversarial):
    """Adversarial discriminative adaptation (Tzeng et al. 2017, eq. 9).

    The domain classifier distinguishes source features of a copy of the encoder from target features of the
    encoder. The encoder is trained with inverted domain labels. While the strength is 0, the class loss
    trains encoder and classifier on the source, and the copy follows the encoder. Afterwards the copy is
    fixed, and the class loss ends. The default schedule is therefore `warm_start`, in which the first
    fraction `adaptation.strength.start` of the steps trains the source model. Other schedules need an earlier
    stage with `adapt=false`.
    """

    schedule = "warm_start"
    needs_source_model = True

    def make_heads(self, features, classes):
        self.domain_head = self.head(features, self.units, 1, "domain_head", self.activation)

    def prepare(self, setting):
        super().prepare(setting)
        self._encoder = setting.model
        self._copies = self._copied_variables()

    def _copied_variables(self) -> list:
        """Returns pairs of a variable of the encoder and its copy, which `own` holds."""
        layers = batch_norm_layers(self._encoder)
        moving = [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
        pairs = []
        for index, variable in enumerate([*self._encoder.trainable_variables, *moving]):
            copy = self.own.add_weight(
                name=f"copy_{index}", shape=variable.shape, dtype=variable.dtype, trainable=False,
                autocast=False, aggregation="only_first_replica",
            )  # fmt: skip
            copy.assign(variable)
            pairs.append((variable, copy))
        return pairs

    def source_weights(self, labels, strength):
        return ops.where(strength > 0, 0.0, ops.ones_like(ops.cast(labels, "float32")))

    def copied_features(self, inputs):
        """Returns source features from the copy, which follows the encoder while the strength is 0."""
        for variable, copy in self._copies:
            copy.assign(ops.where(self.strength > 0, copy, ops.cast(variable.value, copy.dtype)))
        with keras.StatelessScope(state_mapping=[(v, c.value) for v, c in self._copies]):
            features = self._encoder.features(inputs, training=False)
        return ops.stop_gradient(ops.cast(features, "float32"))

    def loss(self, inputs, features):
        constant = Pair(self.copied_features(inputs), ops.stop_gradient(features.target))
        source, target = split_rows(self.domain_head(ops.concatenate(constant)), constant)
        self.count_right(source, target)
        fooled = ops.mean(ops.softplus(-frozen_call(self.domain_head, features.target)))
        return alignment.domain_cross_entropy(source, target) + fooled


@METHODS.register("wasserstein")
class Wasserstein(Method):
    """Wasserstein distance guided representation learning (Shen et al. 2018, algorithm 1).

    Args:
        units: Widths of the hidden layers of the critic.
        critic_steps: Number of critic steps before each step of the model.
        critic_learning_rate: Learning rate of the critic's Adam optimizer.
        penalty: Weight of the gradient penalty.
    """

    def __init__(self, units=(128,), critic_steps=5, critic_learning_rate=1e-3, penalty=10.0):
        super().__init__()
        self.units, self.critic_steps, self.penalty = tuple(units), critic_steps, penalty
        # a name that Keras numbers would differ in a process that resumes
        self.critic_optimizer = keras.optimizers.Adam(critic_learning_rate, name="critic_adam")

    def make_heads(self, features, classes):
        self.critic = self.head(features, self.units, 1, "critic")
        self.critic_optimizer.build(self.critic.trainable_variables)
        self.own.random = self.random = keras.random.SeedGenerator(self.seed, name="adaptation_random")

    @property
    def critic_variables(self):
        return self.critic.trainable_variables

    def critic_loss(self, features):
        """Returns the loss of one critic step: minus the distance, plus the penalty."""
        source, target = features
        mix = keras.random.uniform(ops.shape(source[:, :1]), seed=self.random)
        between = mix * source + (1 - mix) * target
        with recording(between) as tape:
            values = self.critic(between)
        penalty = alignment.gradient_penalty(tape.gradient(values, between))
        distance = alignment.wasserstein(self.critic(source), self.critic(target))
        return self.penalty * penalty - distance

    def loss(self, features):
        return alignment.wasserstein(*(frozen_call(self.critic, x) for x in features))

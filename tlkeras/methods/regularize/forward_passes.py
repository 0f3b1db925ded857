"""Regularizers that change the forward pass in training: mixout, LoRA, stochastic normalisation."""

import keras
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.replica_randomness import uniform_of_step
from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import replay


def forward_with(model, x, values):
    """Returns features and logits of a training step in which tensors replace variables.

    Gradients flow to the inputs of these tensors. Layers still update their statistics and the states of
    random generators.

    Args:
        model: Transfer model.
        x: Inputs of the model.
        values: Pairs of a variable and the tensor that replaces it.
    """
    with keras.StatelessScope(state_mapping=values) as scope:
        features = model.features(x, training=True)
        logits = model.classify(features, training=True)
    for variable in model.non_trainable_variables:
        value = scope.get_current_value(variable)
        if value is not None:
            variable.assign(value)
    return features, logits


@REGULARIZERS.register("mixout")
class Mixout(Regularizer):
    """Each weight is replaced by its start value with probability `weight` in each step (Lee et al. 2020).

    By equation 1, `(m w0 + (1 - m) w - p w0) / (1 - p)` with m from Bernoulli(p) replaces a backbone weight
    w. Validation uses w.

    Args:
        weight: Probability p, below 1.
    """

    default_weight = 0.7
    passes_rows = True

    def __init__(self, weight: float | None = None):
        super().__init__(weight)
        if self.weight >= 1:
            raise UserError(f"mixout's weight is a probability below 1. Received: weight={weight}")

    def act_on(self, setting: Setting) -> None:
        """Copies the start weights."""
        self._variables, self._seed = setting.backbone_variables, setting.seed
        self._start = setting.start_copies(self._variables)

    def forward(self, model, x, step):
        """Returns features and logits with mixed weights."""
        pairs = zip(self._variables, self._start, strict=True)
        return forward_with(model, x, [(v, self._mixed(i, v, s, step)) for i, (v, s) in enumerate(pairs)])

    def _mixed(self, index: int, variable, start, step):
        draw = uniform_of_step(variable.shape, self._seed * 10_007 + index, step)
        now, before = ops.convert_to_tensor(variable), ops.convert_to_tensor(start)
        chosen = ops.where(draw < self.weight, before, now)
        return (chosen - self.weight * before) / (1 - self.weight)


@REGULARIZERS.register("lora")
class LoRA(Regularizer):
    """Low-rank updates of the opened kernels (Hu et al. 2022, section 4.1); neck and head train in full.

    A kernel is `w0 + weight * A B`. A `(..., rank)` is initialised with he_uniform and B `(rank, out)` with
    zero, as in Keras' `enable_lora`. Only A and B are trained, and biases and normalisation layers stay
    frozen. Keras stores A and B in the layer, so that later stages and the saved model depend on them. Here
    the kernels always contain the sum, and the saved model is the plain network.

    Args:
        weight: Factor alpha / rank of the paper. With 0 the backbone does not change.
        rank: Rank of the update, at least 1.
    """

    default_weight = 1.0
    passes_rows = True

    def __init__(self, weight: float | None = None, rank: int = 8):
        super().__init__(weight)
        self.rank = int(rank)
        if self.rank < 1:
            raise UserError(f"lora needs a rank of 1 or more. Received: options.rank={rank}")

    def act_on(self, setting: Setting) -> None:
        """Creates A and B for each opened kernel of a dense layer or an ordinary convolution."""
        opened = setting.backbone_variables
        self._frozen = {id(v) for v in opened}
        kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.EinsumDense)
        layers = [x for x in compat.flat_layers(setting.model.backbone) if type(x) in kinds]
        kernels = {id(compat.kernel_of(x)) for x in layers}
        self._kernels = [v for v in opened if id(v) in kernels]
        if not self._kernels:
            raise UserError(
                "lora finds no kernel of a Dense or Conv layer in the trained blocks. Received: "
                f"stages.{setting.stage.name}.train={setting.stage.train!r}"
            )
        self._start = [keras.Variable(k, trainable=False, name="start") for k in self._kernels]
        self._pairs = []
        for index, kernel in enumerate(self._kernels):
            seed = setting.seed * 10_007 + index
            a = self.own.add_weight(
                name=f"lora_a_{index}", shape=(*kernel.shape[:-1], self.rank), dtype="float32",
                initializer=keras.initializers.HeUniform(seed=seed),
            )  # fmt: skip
            b = self.own.add_weight(
                name=f"lora_b_{index}", shape=(self.rank, kernel.shape[-1]), dtype="float32",
                initializer="zeros",
            )  # fmt: skip
            self._pairs.append((a, b))

    def forward(self, model, x, step):
        """Returns features and logits with gradients for A and B."""
        return forward_with(model, x, list(zip(self._kernels, self._sums(), strict=True)))

    def after_update(self) -> None:
        """Assigns the sums to the kernels."""

        def assign(strategy, *values):
            for kernel, value in zip(self._kernels, values, strict=True):
                compat.assign_in_replicas(strategy, kernel, value)

        compat.merged(assign, *self._sums())

    def trained(self, variables: list) -> list:
        """Returns the variables of A, B, neck and head."""
        return [v for v in variables if id(v) not in self._frozen]

    def _sums(self) -> list:
        return [
            ops.cast(start + self.weight * ops.matmul(a, b), start.dtype)
            for start, (a, b) in zip(self._start, self._pairs, strict=True)
        ]


@REGULARIZERS.register("stochastic_norm")
class StochasticNorm(Regularizer):
    """Each channel is normalised by moving statistics with probability `weight` (Kou et al. 2020, StochNorm).

    Other channels are normalised by batch statistics. The choice is drawn in each step for each trained
    BatchNormalization. The stage needs `bn="train"`. Validation does not change.

    Args:
        weight: Probability of moving statistics, at most 1. In tllib `p` is the probability of batch
            statistics, 1 - weight.
    """

    default_weight = 0.5
    passes_rows = True

    def __init__(self, weight: float | None = None):
        super().__init__(weight)
        if self.weight > 1:
            raise UserError(f"stochastic_norm's weight is a probability. Received: weight={weight}")

    def act_on(self, setting: Setting) -> None:
        """Rebuilds the tail with stochastic layers that wrap its BatchNormalization layers."""
        self._layers: list[StochasticNormalization] = []
        trains = [
            layer
            for layer in compat.flat_layers(setting.model.tail)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        if setting.stage.bn != "train" or not trains:
            raise UserError(
                "stochastic_norm needs trainable BatchNormalization. Allowed: bn='train' with blocks "
                f"that have it. Received: bn={setting.stage.bn!r}, {len(trains)} such layers"
            )

        def instead(operation):
            if not any(operation is layer for layer in trains):
                return operation
            seed = setting.seed * 10_007 + len(self._layers)
            self._layers.append(StochasticNormalization(operation, self.weight, seed))
            return self._layers[-1]

        tail = setting.model.tail
        inputs = keras.Input(tail.inputs[0].shape[1:], dtype=tail.inputs[0].dtype, name="tail_inputs")
        self._tail = keras.Model(inputs, replay(tail, inputs, instead))

    def forward(self, model, x, step):
        """Returns features and logits with stochastic normalisation."""
        for layer in self._layers:
            layer.clock.step = step
        features = model.neck(self._tail(model.before_tail(x), training=True), training=True)
        return features, model.classify(features, training=True)


class _Clock:
    """Holds the step, because Keras would track a tensor attribute as a part of the layer."""

    step = 0


class StochasticNormalization(keras.layers.Layer):
    """Calls a BatchNormalization with moving statistics for some channels, which are drawn in each step.

    Args:
        layer: BatchNormalization layer, whose variables are shared.
        probability: Probability of moving statistics.
        seed: Seed of the random choice.
    """

    def __init__(self, layer, probability: float, seed: int):
        super().__init__(name=f"{layer.name}_stochastic", dtype=layer.dtype_policy)
        self.layer, self.probability, self.draw_seed = layer, probability, seed
        self.clock = _Clock()

    def call(self, x, training=None, mask=None):
        """Returns the normalised inputs."""
        if not training:
            return self.layer(x, training=False)
        by_moving = self.layer(x, training=False)  # before the batch updates the statistics
        by_batch = self.layer(x, training=True)
        shape = [1] * (len(x.shape) - 1) + [x.shape[-1]]
        moving = uniform_of_step(shape, self.draw_seed, self.clock.step) < self.probability
        return ops.where(moving, by_moving, by_batch)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the inputs."""
        return input_shape

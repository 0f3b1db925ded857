"""Ways that change how the backbone is computed while training: mixout, LoRA, stochastic normalisation."""

import keras
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.replica_randomness import uniform_of_step
from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import replay


def forward_with(model, x, values):
    """Returns features and logits of a training step in which tensors stand in for variables.

    Gradients reach whatever the tensors were computed from. What the layers assign meanwhile
    (statistics, states of random generators) is assigned for real.

    Args:
        model: The transfer model.
        x: Its inputs.
        values: Pairs of a variable and what stands in for it.
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
    """Each weight is its start value with probability `weight`, anew in each step (Lee et al. 2020).

    Their equation 1: `(m w0 + (1 - m) w - p w0) / (1 - p)` stands in for a backbone weight w, with m
    Bernoulli(p). Validation uses w.

    Args:
        weight: The probability p, below 1.
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

    A kernel is `w0 + weight * A B`, with A `(..., rank)` from he_uniform and B `(rank, out)` from zero,
    as in Keras' `enable_lora`. Only A and B train, biases and normalisation stay. Keras leaves both in
    the layer, where later stages and the saved model would have to know them; here the kernels always
    hold the sum, so that what is saved is the plain network.

    Args:
        weight: Their alpha / rank; 0 leaves the backbone as it is.
        rank: Of the update.
    """

    default_weight = 1.0
    passes_rows = True

    def __init__(self, weight: float | None = None, rank: int = 8):
        super().__init__(weight)
        self.rank = int(rank)
        if self.rank < 1:
            raise UserError(f"lora needs a rank of 1 or more. Received: options.rank={rank}")

    def act_on(self, setting: Setting) -> None:
        """Makes A and B for every opened kernel of a dense or an ordinary convolution layer."""
        opened = setting.backbone_variables
        self._frozen = {id(v) for v in opened}
        kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.EinsumDense)
        layers = [x for x in compat.flat_layers(setting.model.backbone) if type(x) in kinds]
        kernels = {id(compat.kernel_of(x)) for x in layers}
        self._kernels = [v for v in opened if id(v) in kernels]
        if not self._kernels:
            raise UserError(
                "lora finds no kernel of a Dense or Conv layer in the opened blocks. "
                f"Received: stages.{setting.stage.name}.train={setting.stage.train!r}"
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
        """Returns features and logits, gradients going to A and B."""
        return forward_with(model, x, list(zip(self._kernels, self._sums(), strict=True)))

    def after_update(self) -> None:
        """Puts the sums into the kernels."""

        def assign(strategy, *values):
            for kernel, value in zip(self._kernels, values, strict=True):
                compat.assign_in_replicas(strategy, kernel, value)

        compat.merged(assign, *self._sums())

    def trained(self, variables: list) -> list:
        """Returns A, B, neck and head."""
        return [v for v in variables if id(v) not in self._frozen]

    def _sums(self) -> list:
        return [
            ops.cast(start + self.weight * ops.matmul(a, b), start.dtype)
            for start, (a, b) in zip(self._start, self._pairs, strict=True)
        ]


@REGULARIZERS.register("stochastic_norm")
class StochasticNorm(Regularizer):
    """Each channel is normalised by moving statistics with probability `weight` (Kou et al. 2020, StochNorm).

    Else by those of the batch, as usual; drawn anew in each step, for every BatchNormalization that
    trains. Needs a stage with `bn="train"`; validation is as ever.

    Args:
        weight: The probability of moving statistics, at most 1. tllib's `p` is that of batch statistics:
            1 - weight.
    """

    default_weight = 0.5
    passes_rows = True

    def __init__(self, weight: float | None = None):
        super().__init__(weight)
        if self.weight > 1:
            raise UserError(f"stochastic_norm's weight is a probability. Received: weight={weight}")

    def act_on(self, setting: Setting) -> None:
        """Rebuilds the tail with stochastic layers around its BatchNormalization."""
        self._layers: list[StochasticNormalization] = []
        trains = [
            layer
            for layer in compat.flat_layers(setting.model.tail)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        ]
        if setting.stage.bn != "train" or not trains:
            raise UserError(
                "stochastic_norm needs BatchNormalization that trains. Allowed: bn='train' with blocks that "
                f"have it. Received: bn={setting.stage.bn!r}, {len(trains)} such layers"
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
    """Holds the step, which Keras would take for a part of the layer."""

    step = 0


class StochasticNormalization(keras.layers.Layer):
    """Calls a BatchNormalization with moving statistics for some channels, drawn in each step.

    Args:
        layer: The layer; it keeps its variables.
        probability: Of moving statistics.
        seed: Of the draw.
    """

    def __init__(self, layer, probability: float, seed: int):
        super().__init__(name=f"{layer.name}_stochastic", dtype=layer.dtype_policy)
        self.layer, self.probability, self.draw_seed = layer, probability, seed
        self.clock = _Clock()

    def call(self, x, training=None, mask=None):
        """Returns the normalised inputs."""
        if not training:
            return self.layer(x, training=False)
        by_moving = self.layer(x, training=False)  # before the batch moves them
        by_batch = self.layer(x, training=True)
        shape = [1] * (len(x.shape) - 1) + [x.shape[-1]]
        moving = uniform_of_step(shape, self.draw_seed, self.clock.step) < self.probability
        return ops.where(moving, by_moving, by_batch)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the inputs."""
        return input_shape

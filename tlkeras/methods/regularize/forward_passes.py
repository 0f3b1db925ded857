"""Regularizers that change the forward pass in training: mixout, LoRA, stochastic normalisation."""

import math
import re
import string
from collections.abc import Callable, Sequence

import keras
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.replica_randomness import uniform_of_step
from tlkeras.data.random_streams import seed_of_part
from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import nodes_in_order, replay


def forward_with(model, x, values, instead=lambda operation: operation):
    """Returns features and logits of a training step in which tensors replace variables.

    Gradients flow to the inputs of these tensors. Layers still update their statistics and the states of
    random generators.

    Args:
        model: Transfer model.
        x: Inputs of the model.
        values: Pairs of a variable and the tensor that replaces it.
        instead: Function that returns the replacement of an operation of the tail.
    """
    with keras.StatelessScope(state_mapping=values) as scope:
        tail = model.through_tail(model.before_tail(x), training=True, instead=instead)
        features = model.neck(tail, training=True)
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
        draw = uniform_of_step(variable.shape, seed_of_part(self._seed, index), step)
        now, before = ops.convert_to_tensor(variable), ops.convert_to_tensor(start)
        chosen = ops.where(draw < self.weight, before, now)
        return (chosen - self.weight * before) / (1 - self.weight)


@REGULARIZERS.register("lora")
class LoRA(Regularizer):
    """Low-rank updates of the opened kernels (Hu et al. 2022, section 4.1); neck and head train in full.

    A kernel is `w0 + weight * A B`. A `(..., rank)` is initialised with he_uniform and B `(rank, out)` with
    zero, as in Keras' `enable_lora`. A kernel of `m` input and `n` output values has `rank (m + n)` trained
    parameters; those of the query, key and value of an attention have all heads as outputs, and that behind
    the heads has them as inputs. Only A and B are trained, and biases and normalisation layers stay frozen.
    Keras stores A and B in the layer, so that later stages and the saved model depend on them. Here the
    kernels always contain the sum, and the saved model is the plain network.

    The forward pass is that of the kernels. The gradients of A and B of a Dense or EinsumDense layer are
    computed from its inputs and outputs, as in the paper, so that no gradient of a kernel is needed.

    Args:
        weight: Factor alpha / rank of the paper. With 0 the backbone does not change.
        rank: Rank of the update, at least 1.
        alpha: Alpha of the paper, which may be given instead of `weight`.
        which: Words in the names of the layers with an update, e.g. `["query", "value"]` (the paper's own
            choice), `["attention"]`, `["mlp"]`. None means all layers that can have one.
    """

    default_weight = 1.0
    passes_rows = True

    def __init__(
        self,
        weight: float | None = None,
        rank: int = 8,
        alpha: float | None = None,
        which: Sequence[str] | None = None,
    ):
        self.rank, self.which = int(rank), which
        if self.rank < 1:
            raise UserError(f"lora needs a rank of 1 or more. Received: options.rank={rank}")
        if alpha is not None and weight is not None:
            raise UserError(
                "lora takes a weight or alpha, which is the weight times the rank. "
                f"Received: weight={weight}, options.alpha={alpha}"
            )
        if isinstance(which, str) or (which is not None and not which):
            raise UserError(
                "lora's option which is a list of words in layer names, e.g. ['query', 'value']. "
                f"Received: options.which={which!r}"
            )
        super().__init__(weight if alpha is None else alpha / self.rank)

    def act_on(self, setting: Setting) -> None:
        """Creates A and B for each opened kernel of a dense layer or an ordinary convolution."""
        averaged = setting.stage.optimizer.ema_momentum
        if averaged is not None:  # the average of A B is not the product of the averages of A and B
            raise UserError(
                "lora cannot train with a moving average of the weights, which would not reach the kernels. "
                f"Received: stages.{setting.stage.name}.optimizer.ema_momentum={averaged:g}"
            )
        opened = setting.backbone_variables
        self._frozen = {id(v) for v in opened}
        shapes = {
            id(compat.kernel_of(layer)): shape
            for layer in compat.flat_layers(setting.model.backbone)
            if self._is_wanted(layer.name) and (shape := matrix_of(layer)) is not None
        }
        self._kernels = [v for v in opened if id(v) in shapes]
        if not self._kernels:
            named = "" if self.which is None else f" whose name has one of the words {', '.join(self.which)}"
            raise UserError(
                f"lora finds no kernel of a Dense or Conv layer{named} in the opened blocks. "
                f"Received: stages.{setting.stage.name}.train={setting.stage.train!r}"
            )
        self._start = [keras.Variable(k, trainable=False, name="start") for k in self._kernels]
        self._pairs: list[tuple] = []
        self._products = self._products_of(setting.model.tail)
        for index, kernel in enumerate(self._kernels):
            seed = seed_of_part(setting.seed, index)
            inputs, outputs = shapes[id(kernel)]
            a = self.own.add_weight(
                name=f"lora_a_{index}", shape=(*inputs, self.rank), dtype="float32",
                initializer=keras.initializers.HeUniform(seed=seed),
            )  # fmt: skip
            b = self.own.add_weight(
                name=f"lora_b_{index}", shape=(self.rank, outputs), dtype="float32",
                initializer="zeros",
            )  # fmt: skip
            self._pairs.append((a, b))

    def _is_wanted(self, name: str) -> bool:
        if self.which is None:
            return True
        return any(re.search(rf"(?:^|_){re.escape(word)}(?:_|$)", name) for word in self.which)

    def _products_of(self, tail) -> dict[int, tuple]:
        """Returns the index of the kernel and the function of `product_of` by the id of a layer of the tail.

        Kernels of other layers are replaced by their sums.
        """
        places = {id(kernel): index for index, kernel in enumerate(self._kernels)}
        found = {}
        for layer in (node.operation for node in nodes_in_order(tail)):
            product = product_of(layer)
            if product is not None and id(compat.kernel_of(layer)) in places:
                found[id(layer)] = places[id(compat.kernel_of(layer))], product
        return found

    def forward(self, model, x, step):
        """Returns features and logits with gradients for A and B."""
        beside = {index for index, _ in self._products.values()}
        pairs = enumerate(zip(self._kernels, self._sums(), strict=True))
        return forward_with(model, x, [pair for i, pair in pairs if i not in beside], self._beside)

    def _beside(self, operation):
        """Returns a layer whose outputs have the gradients of A and B, or another operation unchanged."""
        if id(operation) not in self._products:
            return operation
        index, product = self._products[id(operation)]

        def call(x, **settings):
            y = operation(x, **settings)
            constant = ops.stop_gradient(ops.cast(x, y.dtype))
            a, b = (ops.cast(part, y.dtype) for part in self._pairs[index])
            update = self.weight * product(constant, a, b)
            return y + (update - ops.stop_gradient(update))  # the kernel already contains the update

        return call

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
            ops.cast(start + self.weight * ops.reshape(ops.matmul(a, b), start.shape), start.dtype)
            for start, (a, b) in zip(self._start, self._pairs, strict=True)
        ]


def matrix_of(layer) -> tuple[tuple[int, ...], int] | None:
    """Returns the shape of a kernel as a matrix: its inputs (the axes of A before the rank) and its outputs.

    None means that the layer has no kernel or that it is no matrix: a factor per channel, for example.
    """
    if type(layer) in (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D):
        *inputs, outputs = compat.kernel_of(layer).shape
        return tuple(inputs), outputs
    if type(layer) is not keras.layers.EinsumDense:
        return None
    operands, _, result = layer.equation.partition("->")
    x, _, axes = operands.partition(",")
    sizes = dict(zip(axes, compat.kernel_of(layer).shape, strict=True))
    if any(axis in x and axis in result for axis in axes):
        return None
    inputs = math.prod(size for axis, size in sizes.items() if axis in x)
    outputs = math.prod(size for axis, size in sizes.items() if axis in result)
    return ((inputs,), outputs) if min(inputs, outputs) > 1 else None


def product_of(layer) -> Callable | None:
    """Returns a function from inputs, A and B to the inputs times `A B`, without the product of A and B.

    None means that the layer is not linear, or has no kernel whose first axes are those of the inputs.
    """
    if getattr(layer, "activation", None) is not keras.activations.linear or matrix_of(layer) is None:
        return None
    if type(layer) is keras.layers.Dense:
        return lambda x, a, b: ops.matmul(ops.matmul(x, a), b)
    if type(layer) is not keras.layers.EinsumDense:
        return None
    operands, _, result = layer.equation.partition("->")
    x_axes, _, axes = operands.partition(",")
    shape = tuple(compat.kernel_of(layer).shape)
    inputs = "".join(axis for axis in axes if axis in x_axes)
    if not axes.startswith(inputs):
        return None
    count, outputs = len(inputs), axes[len(inputs) :]
    rank = next(letter for letter in string.ascii_letters if letter not in layer.equation)
    narrow = "".join(axis for axis in x_axes if axis not in inputs) + rank

    def product(x, a, b):
        x = ops.einsum(f"{x_axes},{inputs}{rank}->{narrow}", x, ops.reshape(a, (*shape[:count], -1)))
        return ops.einsum(f"{narrow},{rank}{outputs}->{result}", x, ops.reshape(b, (-1, *shape[count:])))

    return product


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
            seed = seed_of_part(setting.seed, len(self._layers))
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
        shape = (*[1] * (len(x.shape) - 1), x.shape[-1])
        moving = uniform_of_step(shape, self.draw_seed, self.clock.step) < self.probability
        return ops.where(moving, by_moving, by_batch)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the inputs."""
        return input_shape

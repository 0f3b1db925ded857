"""The extension of Keras optimizers: exact sums over replicas, and a learning rate per variable."""

import functools
import math
from types import MappingProxyType

import keras
import tensorflow as tf
from keras import ops

from tlkeras.backend import compat


def sum_over_replicas(gradients):
    """Returns the gradients summed over all replicas. Every replica gets the same values.

    Args:
        gradients: Gradient tensors of this replica, none of which is None.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return gradients
    return context.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients))


class StageOptimizer(compat.OptimizerHooks):
    """A mixin before a Keras optimizer class; `stage_optimizer_class` combines them.

    - Gradients are first summed over replicas. Clipping (`clipnorm`, `global_clipnorm`, `clipvalue`) and
      `gradient_accumulation_steps` act on this sum, the gradient of the global batch, as on one device. Keras
      clips the share of each replica, and cannot accumulate there (keras#20582).
    - Each variable has its own factor on the learning rate. Weight decay is decoupled and scaled by the
      learning rate of the variable: `variable -= learning_rate * multiplier * weight_decay * variable`. A
      variable with factor 0 gets no update and no weight decay, and does not count in `global_clipnorm`.
    - Weight decay does not act on variables of rank 0 and 1: biases, normalisation layers and layer scales.
    - If `turns` is set, updates of the other parity do not change a variable with a turn, not even by
      momentum or weight decay.
    - The moving average is updated once per update (not per accumulated batch). The end of `fit` does not
      overwrite the weights with it; see `tlkeras.backend.averaging`.

    Args:
        multipliers: Factors on the learning rate by variable path. Variables without an entry have factor 1.
        *args, **kwargs: Arguments of the Keras optimizer.
    """

    gradients_are_summed = False  # Set by whoever has summed them over replicas already.
    turns: tuple[int | None, ...] = ()  # Of each variable: the parity of the updates that it takes part in.

    def __init__(self, *args, multipliers=None, **kwargs):
        super().__init__(*args, **kwargs)
        # A mapping proxy, because Keras would track a dict as part of the optimizer's state.
        self.multipliers = MappingProxyType(dict(multipliers or {}))

    def multiplier(self, variable):
        """Returns the factor on the learning rate of `variable`, or of one of its replicas."""
        known = self.trained_variables[self.index_of(variable)]
        return self.multipliers.get(getattr(known, "path", known.name), 1.0)

    def update_step(self, gradient, variable, learning_rate):
        """Updates one variable, if the update is its turn."""
        turn = self.turns[self.index_of(variable)] if self.turns else None
        if turn is None:
            self._decay_and_update(gradient, variable, learning_rate)
            return
        ops.cond(
            ops.equal(ops.convert_to_tensor(self.iterations) % 2, turn),
            lambda: self._decay_and_update(gradient, variable, learning_rate),
            lambda: None,
        )

    def _decay_and_update(self, gradient, variable, learning_rate):
        """Updates one variable with its own learning rate, after its weight decay."""
        learning_rate = learning_rate * self.multiplier(variable)
        if self.weight_decay and self.decays(variable):
            rate = ops.cast(learning_rate * self.weight_decay, variable.dtype)
            self.assign_sub(variable, variable * rate)
        super().update_step(gradient, variable, learning_rate)

    def finalize_variable_values(self, var_list):
        """Does nothing, because `fit` calls this at its end and would overwrite the weights."""

    def get_config(self):
        return {**super().get_config(), "multipliers": dict(self.multipliers)}

    def decays(self, variable):
        """Whether weight decay acts on a variable: not on biases, norms and factors per channel."""
        shape = tuple(variable.shape)
        per_channel = len(shape) > 2 and math.prod(shape) == max(shape)  # a depthwise kernel of one place
        return len(shape) > 1 and not per_channel and super().decays(variable)

    def update_all(self, gradients, variables):
        """Sums gradients over replicas, and updates or accumulates."""
        moving = [k for k, v in enumerate(variables) if self.multiplier(v) != 0]
        grads = [gradients[k] for k in moving]
        variables = [variables[k] for k in moving]
        if not self.gradients_are_summed and grads:
            grads = sum_over_replicas(grads)
        if self.gradient_accumulation_steps:
            self._accumulate_or_update(grads, variables)
        else:
            self._update(grads, variables)

    def _update(self, grads, variables):
        if variables:
            self.update_variables(self.clipped(grads), variables)
        if self.use_ema:
            self.update_moving_averages()

    def _accumulate_or_update(self, grads, variables):
        """Adds the gradients to the accumulators, or updates with the mean of all since the last update."""
        steps = self.gradient_accumulation_steps
        sums = [self.accumulator_of(v) for v in variables]

        def update(grads):
            self._update([(g + s) / steps for g, s in zip(grads, sums, strict=True)], variables)
            for accumulator in sums:
                accumulator.assign(ops.zeros_like(accumulator))

        def accumulate(grads):
            for accumulator, gradient in zip(sums, grads, strict=True):
                accumulator.assign(accumulator + gradient)

        def choose(strategy, grads):
            run = strategy.extended.call_for_each_replica
            ops.cond(
                ops.equal((compat.update_count(self) + 1) % steps, 0),
                lambda: run(update, args=(grads,)),
                lambda: run(accumulate, args=(grads,)),
            )

        # if the strategy merges, a branch that updates variables must be chosen outside of the replicas
        if compat.updates_without_merging():
            ops.cond(
                ops.equal((compat.update_count(self) + 1) % steps, 0),
                lambda: update(grads),
                lambda: accumulate(grads),
            )
        else:
            tf.distribute.get_replica_context().merge_call(choose, args=(grads,))


class ReplicaLossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """Keras' loss scaling for float16, with decisions based on the gradients of the global batch.

    Keras checks the gradients of only the first replica, before the sum, so that an overflow of another
    replica would reach the weights.
    """

    def apply(self, grads, trainable_variables=None):
        """Sums the gradients over replicas, then scales back and updates, or skips the step."""
        self.inner_optimizer.gradients_are_summed = True
        present = [g for g in grads if g is not None]
        if present:
            summed = iter(sum_over_replicas(present))
            grads = [None if g is None else next(summed) for g in grads]
        super().apply(grads, trainable_variables)


@functools.cache
def stage_optimizer_class(base):
    """Returns a subclass of the Keras optimizer class `base` with the extensions of `StageOptimizer`."""
    return type(base.__name__, (StageOptimizer, base), {"__module__": __name__})

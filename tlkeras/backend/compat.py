"""Every private part of Keras, TensorFlow and Optuna that tlkeras touches, each with its reason.

All were seen in Keras 3.12 to 3.15 and TensorFlow 2.19 to 2.21; `tests/backend/test_compat.py` fails when
one goes.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.framework.config import is_op_determinism_enabled
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_COUNTERS = "object_name_uids"


def flat_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it. `Model.layers` holds the outermost ones only."""
    return list(layer._flatten_layers())


def seed_generators(layer: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """Returns a layer's own seed generators, which have no public list."""
    return list(getattr(layer, "_seed_generators", ()))


def metrics_of(layer: keras.layers.Layer) -> list[keras.metrics.Metric]:
    """Returns a layer's own metrics, without those of the layers inside it."""
    return list(layer._metrics)


def kernel_of(layer: keras.layers.Layer):
    """Returns a layer's kernel itself; with LoRA `kernel` is a sum."""
    return layer._kernel


def is_graph(model) -> bool:
    """Whether a model is functional, so that `graph_nodes` has something to return."""
    return isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")


def functional_inside(model: keras.Sequential) -> keras.Model:
    """Returns the functional model that a Sequential one keeps."""
    return model._functional


def graph_nodes(model: keras.Model) -> list:
    """Returns the nodes of a functional model so that each comes after those it reads from."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def producer_of(tensor):
    """Returns the operation that puts out a symbolic tensor."""
    return tensor._keras_history.operation


def name_counters(value: Any = None) -> Any:
    """Returns the counters by which Keras numbers layers without a name; given a value, sets them."""
    before = global_state.get_global_attribute(_COUNTERS)
    if value is not None:
        global_state.set_global_attribute(_COUNTERS, value)
    return before


def restore_name_counters(value: Any) -> None:
    """Puts back what `name_counters` returned, also where that was nothing."""
    global_state.set_global_attribute(_COUNTERS, value)


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[tuple]:
    """Returns pairs of a trained variable and its moving average; the optimizer keeps `use_ema`."""
    averages = optimizer._model_variables_moving_average
    return list(zip(optimizer._trainable_variables, averages, strict=True))


def update_count(optimizer: keras.optimizers.Optimizer):
    """Returns the variable that counts batches; `iterations` counts updates where batches accumulate."""
    return optimizer._iterations


def determinism_is_on() -> bool:
    """Whether TensorFlow's operations are deterministic: there is a public switch, and no public reading."""
    return is_op_determinism_enabled()


def with_folded_variables(function) -> Callable:
    """Returns a concrete function with its variables as constants of the graph."""
    return convert_variables_to_constants_v2(function)


def updates_without_merging() -> bool:
    """Whether replicas may update variables where they run, without the strategy's merge call."""
    return tf.__internal__.distribute.strategy_supports_no_merge_call()


def merged(function: Callable, *args) -> None:
    """Calls `function(strategy, *args)` once for all replicas, or in each where they do not merge."""
    strategy = tf.distribute.get_strategy()
    tf.__internal__.distribute.interim.maybe_merge_call(function, strategy, *args)


def assign_in_replicas(strategy, variable: keras.Variable, value) -> None:
    """Assigns a Keras variable, called by `merged`."""

    def assign(inner, new):
        return inner.assign(new)

    strategy.extended.update(variable._value, assign, args=(value,), group=False)


def optuna_trial_number(trial) -> int:
    """Returns the id by which Optuna's storage knows a trial that an earlier process began."""
    return trial._trial_id


def memory_map_of(array):
    """Returns the `mmap` under a NumPy memory map, to advise the system on it; None where it is closed."""
    return array._mmap


class TrainerHooks(keras.Model):
    """`keras.Model`, with public names for the parts of its trainer that tlkeras uses or replaces."""

    def build_for_fit(self, iterator=None, data_batch=None) -> None:
        """Called at the start of `fit` and `evaluate`, with Keras' epoch iterator."""
        raise NotImplementedError

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self.build_for_fit(iterator, data_batch)

    def build_from_specs(self, data_batch) -> None:
        """Builds model, metrics and optimizer from the specs of one batch."""
        self._symbolic_build(data_batch=data_batch)

    @property
    def loss_tracker(self) -> keras.metrics.Metric:
        """The metric that is shown as `loss`; Keras has it after `compile`."""
        return self._loss_tracker

    @property
    def was_made_under_a_strategy(self) -> bool:
        """Whether the model was made in the scope of a strategy."""
        return self._distribute_strategy is not None

    def own_metrics(self) -> list[keras.metrics.Metric]:
        """Returns loss and compiled metrics, without those of layers."""
        return self._get_own_metrics()

    def with_optionals(self, step: Callable) -> Callable:
        """Returns a step that takes the optionals which Keras' data adapters may hand out."""
        return self._autoconvert_optionals(step)


def element_spec(epoch_iterator) -> Any:
    """Returns the specs of one element of the dataset behind Keras' epoch iterator."""
    return epoch_iterator._distributed_dataset.element_spec


def replica_specs(spec: Any) -> Any:
    """Returns what one replica sees of a distributed dataset's elements, as `tf.TensorSpec`s."""

    def of_one_replica(spec):
        spec = spec._value_specs[0] if hasattr(spec, "_value_specs") else spec
        # by name: TensorFlow 2.19 has the class of the second, but exports it nowhere
        return None if type(spec).__name__ in ("OptionalSpec", "NoneTensorSpec") else spec

    return tf.nest.map_structure(of_one_replica, spec)


def counts_exactly(epoch_iterator) -> bool:
    """Whether `count_exactly` has been called on it; evaluation inside `fit` reuses its iterator."""
    return "_enumerate_iterator" in vars(epoch_iterator)


def count_exactly(epoch_iterator, make_group: Callable) -> None:
    """Makes Keras' epoch iterator yield groups of steps that end where the epoch, or the data, ends.

    Keras' own groups always hold `steps_per_execution` steps: an epoch that it does not divide runs
    over into the next one, and the last epoch falls short. The iterator goes on from epoch to epoch
    where `steps_per_epoch` is given, and the last epoch ends early where the data does.

    Args:
        epoch_iterator: Keras' iterator.
        make_group: Takes an iterator of batches and a number of steps; what it returns has `steps`, which
            whoever passes batches over makes smaller.
    """

    def exact_groups() -> Iterator[tuple]:
        state, begin = epoch_iterator, 0
        state.data_adapter.on_epoch_begin()
        if state.steps_per_epoch is None:
            state._current_iterator = None
        while (per_epoch := state.num_batches) is None or begin < per_epoch:
            left = None if state._num_batches is None else state._num_batches - state._steps_seen
            if state._current_iterator is None or (left == 0 and begin == 0):
                state._current_iterator, state._steps_seen = iter(state._get_iterator()), 0
                left = state._num_batches
            if left == 0:
                break
            limits = (state.steps_per_execution, left, None if per_epoch is None else per_epoch - begin)
            steps = min(limit for limit in limits if limit is not None)
            group = make_group(state._current_iterator, steps)
            yield begin, begin + steps - 1, group
            state._steps_seen += group.steps  # fewer where the caller has passed some over
            begin += steps
        state.data_adapter.on_epoch_end()

    epoch_iterator._enumerate_iterator = exact_groups


class OptimizerHooks:
    """Mixin that stands before a Keras optimizer class: public names for what a subclass replaces."""

    def index_of(self, variable) -> int:
        """Returns the place of a variable, or of one of its replicas, among those that train."""
        return self._get_variable_index(variable)

    @property
    def trained_variables(self) -> list:
        """The variables that train."""
        return self._trainable_variables

    def update_all(self, gradients: list, variables: list) -> None:
        """Replaces what Keras does with the gradients of a batch: sum over replicas, clip, update."""
        raise NotImplementedError

    def _backend_apply_gradients(self, grads, trainable_variables):
        self.update_all(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # `update_all` sums them

    def _apply_weight_decay(self, variables):
        """Does nothing: `update_step` decays each variable at its own rate."""

    def _use_weight_decay(self, variable):
        return self.decays(variable)

    def decays(self, variable) -> bool:
        """Whether weight decay acts on a variable: by Keras, where none has excluded it."""
        return super()._use_weight_decay(variable)

    def clipped(self, gradients: list) -> list:
        """Returns the gradients, clipped as the optimizer says."""
        return self._clip_gradients(gradients)

    def update_variables(self, gradients: list, variables: list) -> None:
        """Calls `update_step` for each variable, in the way of the backend."""
        self._backend_update_step(gradients, variables, self.learning_rate)

    def update_moving_averages(self) -> None:
        """Moves the averages of all trained variables."""
        self._update_model_variables_moving_average(self._trainable_variables)

    def accumulator_of(self, variable):
        """Returns where the gradients of a variable are added up between updates."""
        return self._accumulated_gradients[self._get_variable_index(variable)]

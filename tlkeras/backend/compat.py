"""All private parts of Keras, TensorFlow and Optuna that tlkeras uses, with the reasons.

They exist in Keras 3.12 to 3.15 and TensorFlow 2.19 to 2.21. `tests/backend/test_compat.py` fails if one of
them is removed.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf
from keras.src.backend.common import global_state
from tensorflow.python.data.ops import multi_device_iterator_ops
from tensorflow.python.framework.config import is_op_determinism_enabled
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

_COUNTERS = "object_name_uids"


def flat_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns a layer and all layers inside it. `Model.layers` contains only the outermost layers."""
    return list(layer._flatten_layers())


def seed_generators(layer: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """Returns the seed generators of a layer, for which there is no public list."""
    return list(getattr(layer, "_seed_generators", ()))


def metrics_of(layer: keras.layers.Layer) -> list[keras.metrics.Metric]:
    """Returns the metrics of a layer, without those of the layers inside it."""
    return list(layer._metrics)


def kernel_of(layer: keras.layers.Layer):
    """Returns the kernel variable of a layer. With LoRA the public `kernel` is a sum."""
    return layer._kernel


def is_graph(model) -> bool:
    """Whether a model is functional, so that `graph_nodes` can be called."""
    return isinstance(model, keras.Model) and hasattr(model, "_nodes_by_depth")


def functional_inside(model: keras.Sequential) -> keras.Model:
    """Returns the functional model inside a Sequential model."""
    return model._functional


def graph_nodes(model: keras.Model) -> list:
    """Returns the nodes of a functional model in topological order."""
    by_depth = model._nodes_by_depth
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def producer_of(tensor):
    """Returns the operation whose output is a symbolic tensor."""
    return tensor._keras_history.operation


def name_counters(value: Any = None) -> Any:
    """Returns the counters by which Keras numbers layers without a name. A given value replaces them."""
    before = global_state.get_global_attribute(_COUNTERS)
    if value is not None:
        global_state.set_global_attribute(_COUNTERS, value)
    return before


def restore_name_counters(value: Any) -> None:
    """Restores the value that `name_counters` returned, which may be None."""
    global_state.set_global_attribute(_COUNTERS, value)


def moving_averages(optimizer: keras.optimizers.Optimizer) -> list[tuple]:
    """Returns pairs of a trained variable and its moving average, for an optimizer with `use_ema`."""
    averages = optimizer._model_variables_moving_average
    return list(zip(optimizer._trainable_variables, averages, strict=True))


def update_count(optimizer: keras.optimizers.Optimizer):
    """Returns the variable that counts batches. With accumulation, `iterations` counts only updates."""
    return optimizer._iterations


def determinism_is_on() -> bool:
    """Whether TensorFlow's operations are deterministic. The public function can only set this."""
    return is_op_determinism_enabled()


def with_folded_variables(function) -> Callable:
    """Returns a concrete function with its variables as constants of the graph."""
    return convert_variables_to_constants_v2(function)


def updates_without_merging() -> bool:
    """Whether replicas may update variables without the merge call of the strategy."""
    return tf.__internal__.distribute.strategy_supports_no_merge_call()


def merged(function: Callable, *args) -> None:
    """Calls `function(strategy, *args)` once for all replicas, or in each replica if they do not merge."""
    strategy = tf.distribute.get_strategy()
    tf.__internal__.distribute.interim.maybe_merge_call(function, strategy, *args)


def assign_in_replicas(strategy, variable: keras.Variable, value) -> None:
    """Assigns a Keras variable in a function that `merged` calls."""

    def assign(inner, new):
        return inner.assign(new)

    strategy.extended.update(variable._value, assign, args=(value,), group=False)


_create_device_dataset: Any = getattr(multi_device_iterator_ops, "_create_device_dataset", None)


def _create_device_dataset_without_autotuner(*args):
    options = tf.data.Options()
    options.autotune.enabled = False
    return _create_device_dataset(*args).with_options(options)


def stop_autotuner_of_devices() -> None:
    """Turns the autotuner of tf.data off in the iterators that bring the rows of a batch to the replicas.

    They do not take over the options of the distributed dataset. There is nothing to tune in them, but the
    deletion of one often waits for its autotuner, up to a minute. It applies to all distributed datasets of
    the process, and has no effect if TensorFlow has renamed its function.
    """
    if _create_device_dataset is not None:
        multi_device_iterator_ops._create_device_dataset = _create_device_dataset_without_autotuner


def optuna_trial_number(trial) -> int:
    """Returns the id of a trial in Optuna's storage, for a trial of an earlier process."""
    return trial._trial_id


def memory_map_of(array):
    """Returns the `mmap` of a NumPy memory map, for advice to the system, or None if it is closed."""
    return array._mmap


class TrainerHooks(keras.Model):
    """A `keras.Model` with public names for the parts of its trainer that tlkeras uses or replaces."""

    def build_for_fit(self, iterator=None, data_batch=None) -> None:
        """Is called at the start of `fit` and `evaluate` with Keras' epoch iterator."""
        raise NotImplementedError

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        self.build_for_fit(iterator, data_batch)

    def build_from_specs(self, data_batch) -> None:
        """Builds model, metrics and optimizer from the specs of one batch."""
        self._symbolic_build(data_batch=data_batch)

    @property
    def loss_tracker(self) -> keras.metrics.Metric:
        """Metric that is shown as `loss`. It exists after `compile`."""
        return self._loss_tracker

    @property
    def was_made_under_a_strategy(self) -> bool:
        """Whether the model was built in the scope of a strategy."""
        return self._distribute_strategy is not None

    def own_metrics(self) -> list[keras.metrics.Metric]:
        """Returns loss and compiled metrics, without those of layers."""
        return self._get_own_metrics()

    def with_optionals(self, step: Callable) -> Callable:
        """Returns a step that accepts the optionals of Keras' data adapters."""
        return self._autoconvert_optionals(step)


def element_spec(epoch_iterator) -> Any:
    """Returns the specs of one element of the dataset behind Keras' epoch iterator."""
    return epoch_iterator._distributed_dataset.element_spec


def replica_specs(spec: Any) -> Any:
    """Returns the elements of a distributed dataset on one replica, as `tf.TensorSpec`s."""

    def of_one_replica(spec):
        spec = spec._value_specs[0] if hasattr(spec, "_value_specs") else spec
        # compared by name, because TensorFlow 2.19 does not export the second class
        return None if type(spec).__name__ in ("OptionalSpec", "NoneTensorSpec") else spec

    return tf.nest.map_structure(of_one_replica, spec)


def counts_exactly(epoch_iterator) -> bool:
    """Whether `count_exactly` was called on the iterator, which evaluation inside `fit` uses again."""
    return "_enumerate_iterator" in vars(epoch_iterator)


def count_exactly(epoch_iterator, make_group: Callable) -> None:
    """Makes Keras' epoch iterator yield groups of steps that end where the epoch, or the data, ends.

    Keras' own groups always have `steps_per_execution` steps. If an epoch is not a multiple of it, the epoch
    continues into the next one, and the last epoch is too short. With `steps_per_epoch` the iterator
    continues over epochs, and the last epoch ends early if the data end.

    Args:
        epoch_iterator: Epoch iterator of Keras.
        make_group: Function from an iterator of batches and a number of steps to a group. The group has an
            attribute `steps`, which is reduced if batches are skipped.
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
            state._steps_seen += group.steps  # fewer if the caller has skipped some
            begin += steps
        state.data_adapter.on_epoch_end()

    epoch_iterator._enumerate_iterator = exact_groups


# the optimizer class that the mixins below come before
_BeforeOptimizer: Any = keras.optimizers.Optimizer if TYPE_CHECKING else object


class OptimizerHooks(_BeforeOptimizer):
    """A mixin before a Keras optimizer class, with public names for the parts that a subclass replaces."""

    def index_of(self, variable) -> int:
        """Returns the index of a variable, or of one of its replicas, among the trained variables."""
        return self._get_variable_index(variable)

    @property
    def trained_variables(self) -> list:
        """Trained variables."""
        return self._trainable_variables

    def update_all(self, gradients: list, variables: list) -> None:
        """Sums the gradients of a batch over replicas, clips them and updates, instead of Keras."""
        raise NotImplementedError

    def _backend_apply_gradients(self, grads, trainable_variables):
        self.update_all(grads, trainable_variables)

    def _all_reduce_sum_gradients(self, grads_and_vars):
        return list(grads_and_vars)  # `update_all` sums them

    def _apply_weight_decay(self, variables):
        """Does nothing, because `update_step` decays each variable at its own rate."""

    def _use_weight_decay(self, variable):
        return self.decays(variable)

    def decays(self, variable) -> bool:
        """Whether weight decay acts on a variable, which Keras allows to exclude."""
        return super()._use_weight_decay(variable)

    def clipped(self, gradients: list) -> list:
        """Returns the gradients after the clipping of the optimizer."""
        return self._clip_gradients(gradients)

    def update_variables(self, gradients: list, variables: list) -> None:
        """Calls `update_step` for each variable, as the Keras backend does."""
        self._backend_update_step(gradients, variables, self.learning_rate)

    def update_moving_averages(self) -> None:
        """Updates the moving averages of all trained variables."""
        self._update_model_variables_moving_average(self._trainable_variables)

    def accumulator_of(self, variable):
        """Returns the accumulator of a variable's gradients between updates."""
        return self._accumulated_gradients[self._get_variable_index(variable)]

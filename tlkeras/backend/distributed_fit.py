"""A `keras.Model` whose `fit`, `evaluate` and `predict` are correct with every synchronous strategy."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.replica_randomness import ReplicaSeedGenerator
from tlkeras.backend.replicas import replica_count
from tlkeras.errors import UserError

UNSUPPORTED_STRATEGIES = ("ParameterServerStrategy", "CentralStorageStrategy")


class DistributedFit(compat.TrainerHooks):
    """Keras' training loop for one device, several devices and several workers.

    Keras 3 itself fails with `MirroredStrategy` and several steps per call (keras#19246), and always with
    `MultiWorkerMirroredStrategy` (keras#20585). This class replaces the three functions that `fit`,
    `evaluate` and `predict` call. Callbacks, logs and the progress bar are those of Keras. With the same
    global batches, every strategy gives the same weights.

    - One call runs `steps_per_execution` steps of `train_step` in one `tf.function`, and fewer at the end of
      an epoch, so that `steps_per_epoch` is exact even if it is not a multiple.
    - Logs are the metrics of the model. They are read outside of the replicas, where Keras sums their
      variables. The return value of a `train_step` is not used, so values must be reported by metrics.
    - The model, its metrics and its optimizer are built from the element spec of the dataset, so that no
      batch is read before the first epoch.
    - The loss of `evaluate` is the mean over rows weighted by the sample weights. Padded rows with weight 0
      do not count. With padded batches, metrics must be passed as `weighted_metrics`.
    - Replicas draw different dropout masks.

    Subclasses override `train_step`, and also `labelled_part` if a batch is not `(x, y[, weight])`. Their own
    losses must use `scale_for_replicas`.
    """

    def compile(self, *args, jit_compile="auto", **kwargs):
        """Compiles the model; see `keras.Model.compile`. `jit_compile=True` is refused with a strategy.

        Raises:
            UserError: XLA or this strategy cannot give correct results.
        """
        strategy = self.distribute_strategy
        name = type(strategy).__name__
        if name.startswith(UNSUPPORTED_STRATEGIES):
            raise UserError(
                f"Keras 3 cannot train under {name}. Allowed: none, mirrored, multi_worker, tpu. "
                f"Received: strategy={name}"
            )
        if jit_compile is True and self.was_made_under_a_strategy:
            raise UserError(
                "XLA cannot compile a step under a tf.distribute strategy; leave jit_compile at 'auto' "
                f"or use one device. Received: jit_compile=True, strategy={name}"
            )
        super().compile(*args, jit_compile=jit_compile, **kwargs)

    def labelled_part(self, batch):
        """Returns the part `(x, y, sample_weight)` of a batch for the compiled loss and metrics.

        Args:
            batch: Element of the dataset, or the specs of an element.
        """
        return keras.utils.unpack_x_y_sample_weight(batch)

    def test_step(self, data):
        """Runs one evaluation step. Its loss is a mean over rows, weighted by the sample weights."""
        x, y, sample_weight = self.labelled_part(data)
        y_pred = self(x, training=False)
        rows = ops.cast(ops.shape(keras.tree.flatten(y_pred)[0])[0], "float32")
        if keras.ops.is_tensor(sample_weight) and len(sample_weight.shape) == 1:
            weight = ops.cast(sample_weight, "float32")
            total = ops.sum(weight)
            # Keras divides by the number of rows with padding, which weights with mean 1 correct
            loss_weight = weight * ops.where(total > 0, rows / ops.where(total > 0, total, 1.0), 0.0)
        else:
            total, loss_weight = rows, sample_weight
        loss = self.compute_loss(x, y, y_pred, loss_weight, training=False)
        self.loss_tracker.update_state(loss * replica_count(), sample_weight=total)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def make_train_function(self, force=False):
        """Builds the function that `fit` calls, once per `compile`."""
        if self.train_function is None or force:
            self.train_function = self._function_of_steps(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        """Builds the function that `evaluate` calls, once per `compile`."""
        if self.test_function is None or force:
            self.test_function = self._function_of_steps(self.test_step)
        return self.test_function

    def make_predict_function(self, force=False):
        """Builds the function that `predict` calls. It returns outputs in the order of a batch's rows."""
        if self.predict_function is not None and not force:
            return self.predict_function
        strategy = self.distribute_strategy
        step = self._compiled_step(self.predict_step)

        @tf.autograph.experimental.do_not_convert
        def predict_batch(batch):
            outputs = strategy.run(step, args=(batch,))
            if strategy.num_replicas_in_sync == 1:
                return outputs
            return tf.nest.map_structure(lambda value: strategy.gather(value, axis=0), outputs)

        if not self.run_eagerly:
            predict_batch = tf.function(predict_batch, reduce_retracing=True)
        self.predict_function = lambda batches: predict_batch(batches[0])
        return self.predict_function

    def predict(self, x, batch_size=None, verbose="auto", steps=None, callbacks=None):
        """Predicts; see `keras.Model.predict`. The outputs of all replicas are in the order of the input."""
        steps_per_execution, self.steps_per_execution = self.steps_per_execution, 1
        try:
            return super().predict(x, batch_size, verbose, steps, callbacks)
        finally:
            self.steps_per_execution = steps_per_execution

    def _compiled_step(self, step):
        """Returns `step` for the replicas, without autograph, and compiled by XLA if requested."""
        ReplicaSeedGenerator.install(self)
        step = tf.autograph.experimental.do_not_convert(self.with_optionals(step))
        if self.jit_compile and not self.run_eagerly:
            return tf.function(step, jit_compile=True, reduce_retracing=True)
        return step

    def _function_of_steps(self, step):
        """Returns a function that runs a `_Group` of steps and returns the metrics."""
        strategy = self.distribute_strategy
        step = self._compiled_step(step)

        @tf.autograph.experimental.do_not_convert
        def one_batch(batch):
            strategy.run(step, args=(batch,))
            return self.get_metrics_result()

        @tf.autograph.experimental.do_not_convert
        def one_step(iterator):
            return one_batch(next(iterator))

        @tf.autograph.experimental.do_not_convert
        def several_steps(iterator, steps):
            def body(index):
                strategy.run(step, args=(next(iterator),))
                return (index + 1,)

            tf.while_loop(lambda index: index < steps, body, (tf.constant(0),))
            return self.get_metrics_result()

        if not self.run_eagerly:
            one_batch = tf.function(one_batch, reduce_retracing=True)
            one_step = tf.function(one_step, reduce_retracing=True)
            several_steps = tf.function(several_steps, reduce_retracing=True)

        def run(group):
            if not isinstance(group, _Group):  # train_on_batch passes a Python generator
                return one_batch(next(group))
            if self.steps_per_execution == 1:
                return one_step(group.iterator)
            # steps are a tensor, so that the shorter call at the end of an epoch needs no second trace
            return several_steps(group.iterator, tf.constant(group.steps))

        return run

    def build_for_fit(self, iterator=None, data_batch=None):
        """Builds the model from shapes alone, and makes the iterator of `fit` count steps exactly.

        Keras calls this at the start of `fit` and `evaluate` with its epoch iterator.
        """
        if iterator is not None:
            data_batch = compat.replica_specs(compat.element_spec(iterator))
            _count_exactly(iterator)
        with self.distribute_strategy.scope():
            self.build_from_specs(self.labelled_part(data_batch))


def scale_for_replicas(loss):
    """Scales a loss so that its weight does not depend on the number of replicas.

    The optimizer sums gradients over replicas. Keras divides its `Loss` objects and `add_loss` terms by the
    number of replicas. It does not divide a term such as `ops.mean(...)`, which would then count once per
    replica. Without a strategy, or with one replica, the loss is returned unchanged.

    Args:
        loss: Mean loss over the rows of this replica, a float tensor.

    Returns:
        `loss` divided by the number of replicas in the current strategy.

    Example:
        >>> loss = self.compute_loss(x, y, y_pred) + scale_for_replicas(ops.mean(distance))
    """
    replicas = replica_count()
    return loss if replicas == 1 else loss / replicas


def synchronize_batch_norm(layer, synchronized=True):
    """Sets whether all BatchNormalization layers in `layer` use the statistics of the global batch.

    It takes effect when a step is traced, which is after the next `compile`. With it, BatchNormalization in
    training is the same on any number of replicas. Without it, each replica normalises by its own rows.

    Args:
        layer: Layer or model, such as a pretrained functional backbone.
        synchronized: Whether statistics are averaged over replicas.

    Returns:
        The number of BatchNormalization layers.
    """
    found = [
        child for child in compat.flat_layers(layer) if isinstance(child, keras.layers.BatchNormalization)
    ]
    for batch_norm in found:
        batch_norm.synchronized = synchronized
    return len(found)


class _Group:
    """The steps of one call: an iterator, and the number of batches to take from it."""

    def __init__(self, iterator, steps):
        self.iterator = iterator
        self.steps = steps

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.iterator)


def _count_exactly(epoch_iterator):
    """Makes a Keras epoch iterator yield `_Group`s; see `compat.count_exactly`."""
    if compat.counts_exactly(epoch_iterator):
        return
    size = epoch_iterator.steps_per_execution
    if size > 1 and epoch_iterator.num_batches is None:
        raise UserError(
            "With several steps per call, the number of batches must be known: pass steps_per_epoch "
            "(steps for evaluate), or use dataset.apply(tf.data.experimental.assert_cardinality(n)). "
            f"Received: steps_per_execution={size} and a dataset of unknown length"
        )
    compat.count_exactly(epoch_iterator, _Group)

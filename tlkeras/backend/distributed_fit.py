"""A `keras.Model` whose `fit`, `evaluate` and `predict` are right on every synchronous strategy."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.backend import compat
from tlkeras.backend.replica_randomness import ReplicaSeedGenerator
from tlkeras.backend.replicas import replica_count
from tlkeras.errors import UserError

UNSUPPORTED_STRATEGIES = ("ParameterServerStrategy", "CentralStorageStrategy")


class DistributedFit(compat.TrainerHooks):
    """Keras' training loop on one device, several devices and several workers alike.

    Stock Keras 3 fails under `MirroredStrategy` with several steps per call (keras#19246) and under
    `MultiWorkerMirroredStrategy` always (keras#20585). This class replaces the three functions that
    `fit`, `evaluate` and `predict` call; callbacks, logs and the progress bar remain Keras' own.
    With the same global batches every strategy ends at the same weights.

    - One call runs `steps_per_execution` steps of `train_step` inside one `tf.function`, and fewer
      where an epoch ends: a `steps_per_epoch` that it does not divide is kept to exactly.
    - Logs are the model's metrics, read outside the replicas, where Keras sums their variables. What
      a subclass's `train_step` returns is not used: report values through metrics.
    - The model, its metrics and its optimizer are built from the dataset's element spec, so no batch
      is taken before the first epoch.
    - `evaluate` reports as loss the mean over rows weighted by the sample weights: rows padded with
      weight 0 do not count. Pass metrics as `weighted_metrics` where batches are padded.
    - Replicas draw different dropout masks.

    Subclasses override `train_step`, and `labelled_part` where a batch is not `(x, y[, weight])`.
    Losses written by hand go through `scale_for_replicas`.
    """

    def compile(self, *args, jit_compile="auto", **kwargs):
        """As `keras.Model.compile`; `jit_compile=True` is refused under a strategy.

        Raises:
            UserError: Where XLA or this strategy cannot give right results.
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
        """Returns the `(x, y, sample_weight)` in a batch that the compiled loss and metrics see.

        Args:
            batch: One element of the dataset, or the specs of one.
        """
        return keras.utils.unpack_x_y_sample_weight(batch)

    def test_step(self, data):
        """One evaluation step whose loss is a mean over rows, weighted by the sample weights."""
        x, y, sample_weight = self.labelled_part(data)
        y_pred = self(x, training=False)
        rows = ops.cast(ops.shape(keras.tree.flatten(y_pred)[0])[0], "float32")
        if keras.ops.is_tensor(sample_weight) and len(sample_weight.shape) == 1:
            weight = ops.cast(sample_weight, "float32")
            total = ops.sum(weight)
            # Keras divides by the number of rows, padded ones included: weights of mean 1 undo that.
            loss_weight = weight * ops.where(total > 0, rows / ops.where(total > 0, total, 1.0), 0.0)
        else:
            total, loss_weight = rows, sample_weight
        loss = self.compute_loss(x, y, y_pred, loss_weight, training=False)
        self.loss_tracker.update_state(loss * replica_count(), sample_weight=total)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def make_train_function(self, force=False):
        """Builds what `fit` calls, once per `compile`."""
        if self.train_function is None or force:
            self.train_function = self._function_of_steps(self.train_step)
        return self.train_function

    def make_test_function(self, force=False):
        """Builds what `evaluate` calls, once per `compile`."""
        if self.test_function is None or force:
            self.test_function = self._function_of_steps(self.test_step)
        return self.test_function

    def make_predict_function(self, force=False):
        """Builds what `predict` calls: one batch in, outputs in the order of its rows out."""
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
        """As `keras.Model.predict`; every replica's rows come back in the order of the input."""
        steps_per_execution, self.steps_per_execution = self.steps_per_execution, 1
        try:
            return super().predict(x, batch_size, verbose, steps, callbacks)
        finally:
            self.steps_per_execution = steps_per_execution

    def _compiled_step(self, step):
        """Returns `step` as replicas run it: outside autograph, and through XLA where asked for."""
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
            # A tensor, so that the shorter call at an epoch's end needs no second trace.
            return several_steps(group.iterator, tf.constant(group.steps))

        return run

    def build_for_fit(self, iterator=None, data_batch=None):
        """Builds from shapes alone, and makes `fit`'s iterator count steps exactly.

        Keras calls this at the start of `fit` and `evaluate` with its epoch iterator.
        """
        if iterator is not None:
            data_batch = compat.replica_specs(compat.element_spec(iterator))
            _count_exactly(iterator)
        with self.distribute_strategy.scope():
            self.build_from_specs(self.labelled_part(data_batch))


def scale_for_replicas(loss):
    """Scales a loss written by hand so that it weighs the same on any number of replicas.

    The optimizer sums gradients over replicas. Keras divides its `Loss` objects and `add_loss` terms by
    the number of replicas; a term such as `ops.mean(...)` is not divided, and would count once per
    replica beside them. Outside a strategy, or with one replica, the loss is returned as it is.

    Args:
        loss: Float tensor: the mean over the rows of this replica.

    Returns:
        `loss` divided by the number of replicas in the current strategy.

    Example:
        >>> loss = self.compute_loss(x, y, y_pred) + scale_for_replicas(ops.mean(distance))
    """
    replicas = replica_count()
    return loss if replicas == 1 else loss / replicas


def synchronize_batch_norm(layer, synchronized=True):
    """Makes every BatchNormalization inside `layer` use the statistics of the global batch, or not.

    Takes effect when a step is traced next, that is after the next `compile`. With it, training-mode
    BatchNorm is the same on any number of replicas; without, each replica normalises by its own rows.

    Args:
        layer: A layer or model; a pretrained functional backbone will do.
        synchronized: Whether statistics are averaged over replicas.

    Returns:
        The number of BatchNormalization layers found.
    """
    found = [
        child for child in compat.flat_layers(layer) if isinstance(child, keras.layers.BatchNormalization)
    ]
    for batch_norm in found:
        batch_norm.synchronized = synchronized
    return len(found)


class _Group:
    """The steps of one call: an iterator, and how many batches to take from it."""

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
            "Several steps per call need a known number of batches: pass steps_per_epoch (steps for "
            "evaluate), or use dataset.apply(tf.data.experimental.assert_cardinality(n)). "
            f"Received: steps_per_execution={size} and a dataset of unknown length"
        )
    compat.count_exactly(epoch_iterator, _Group)

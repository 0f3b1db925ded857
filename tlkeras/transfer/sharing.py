"""Two tasks on one network: a common part, and a private part for each."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.config import ModelConfig, TasksConfig
from tlkeras.models.adapter import adapter_and_common, build_adapter, preprocessing_of
from tlkeras.models.build import neck_for
from tlkeras.models.graph import RenamedCopies, replay
from tlkeras.models.heads import build_head
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck
from tlkeras.models.paired_fit import PairedFit
from tlkeras.models.preprocessing import build_preprocessing


class PrivatePart:
    """What belongs to the source task alone: neck, head and, for inputs of another shape, an adapter.

    Args:
        model: The target's transfer model; its backbone, without the target's adapter, is the common part.
        model_config: The target's; gives the neck where the source has none of its own.
        tasks: Neck, head and adapter of the source.
        input_shape: Of the source's inputs.
        num_outputs: Of the source's logits.
        seed: Of the initial weights.

    Attributes:
        target_adapter: The target's adapter, and
        common: the common part behind it; both are None where the target's whole backbone is common.
    """

    def __init__(
        self,
        model,
        model_config: ModelConfig,
        tasks: TasksConfig,
        input_shape: tuple,
        num_outputs: int,
        seed: int,
    ):
        self.preprocess = self.adapter = None
        with reproducible(seed, "source_private"):
            if tasks.adapter is not None:
                self.preprocess = build_preprocessing(preprocessing_of(tasks.adapter), input_shape)
                self.adapter = build_adapter(tasks.adapter, input_shape)
            neck = neck_for(tasks.neck or model_config.neck, tasks.head)
            self.neck = build_neck(neck, model.backbone.outputs[0])
            self.head = build_head(tasks.head, num_outputs, self.neck.outputs[0])
        self.target_adapter, self.common = adapter_and_common(model.backbone)
        self.input_shape = tuple(input_shape)

    @property
    def parts(self) -> list[keras.Model]:
        """The models that make it up."""
        return [part for part in (self.adapter, self.neck, self.head) if part is not None]


class JointModel(PairedFit):
    """Trains a target and a source task together: class loss + weight * the source's, one update.

    Batches are `((target_x, target_y[, weight]), (source_x, source_y))`. Both tasks' rows pass the common
    part in one batch, so that BatchNormalization trains with the statistics that it keeps; gradients add up
    there. The target's model is trained in place; validation and metrics are the target's.

    Args:
        model: The target's transfer model, with its stage selected.
        private: The source's private part.
        source_loss: Keras loss on the source's logits.
        weight: Of the source's loss.
        alternating: Whether even updates train the target and odd updates the source; the private part of
            the idle task stays as it is, whatever momentum and weight decay say.
        inference: Whether the common part is called as in inference (a stage with `bn="inference"`).
    """

    def __init__(
        self,
        model,
        private: PrivatePart,
        source_loss,
        weight: float,
        alternating: bool,
        inference: bool = False,
    ):
        super().__init__(name="joint")
        self.model = model  # first, so that its variables have the names that they have by themselves
        self.source_parts = private.parts
        self.private = _Held(private)
        self.source_loss, self.weight, self.alternating = source_loss, float(weight), alternating
        self.inference = inference
        self.source_tracker = keras.metrics.Mean(name="source_loss")
        self.built = True

    def build(self, input_shape=None):
        """Nothing is left to create."""
        self.built = True

    def compile(self, *args, **kwargs):
        """As `keras.Model.compile`; an optimizer of tlkeras leaves the private part of an idle task alone."""
        super().compile(*args, **kwargs)
        if self.alternating:
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            optimizer.turns = tuple(self._turn(v) for v in self.trainable_variables)

    def _turn(self, variable) -> int | None:
        """Returns the parity of the steps of the task that a variable belongs to; None for common ones."""
        private = self.private.value
        own = (self.model.neck, self.model.head, private.target_adapter)
        for turn, parts in enumerate(([part for part in own if part is not None], private.parts)):
            if any(variable is v for part in parts for v in part.variables):
                return turn
        return None

    @property
    def input_shape(self) -> tuple:
        """That of the target's model."""
        return self.model.input_shape

    @property
    def metrics(self):
        """The target's; while training, the source's loss as well."""
        own = [m for m in super().metrics if m is not self.source_tracker]
        return own if self.is_evaluating else [*own, self.source_tracker]

    def call(self, x, training=None):
        """Returns the target's logits."""
        return self.model(x, training=training)

    def logits(self, x, source_x, training=None):
        """Returns the target's logits for `x` and the source's for `source_x`, after one common pass."""
        private = self.private.value
        if private.adapter is not None:
            source_x = private.adapter(private.preprocess(source_x), training=training)
        common_training = False if self.inference else training
        if private.common is None:
            both = self.model.before_tail(_stacked(x, source_x))
            both = self.model.through_tail(both, training=common_training)
        else:
            x = private.target_adapter(self.model.preprocess(x), training=common_training)
            both = private.common(_stacked(x, source_x), training=common_training)
        rows = ops.shape(x)[0]
        own = self.model.neck(both[:rows], training=training)
        others = private.neck(both[rows:], training=training)
        return self.model.classify(own, training=training), private.head(others, training=training)

    def train_step(self, data):
        """One step on both tasks."""
        x, labels, sample_weight = self.labelled_part(data)
        source_x, source_labels = data[1][:2]
        with tf.GradientTape() as tape:
            logits, source_logits = self.logits(x, source_x, training=True)
            loss = self.compute_loss(x, labels, logits, sample_weight, training=True)
            source_loss = self.source_loss(source_labels, source_logits)
            total = loss + self.weight * source_loss
            if self.alternating:
                even = ops.equal(ops.convert_to_tensor(self.optimizer.iterations) % 2, 0)
                total = ops.where(even, loss, self.weight * source_loss)
            scaled = self.optimizer.scale_loss(total)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        rows = ops.shape(logits)[0]
        self._loss_tracker.update_state(loss * replicas, sample_weight=rows)
        self.source_tracker.update_state(source_loss * replicas, sample_weight=rows)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self.compute_metrics(x, labels, logits, sample_weight=sample_weight)


def source_model(model, private: PrivatePart) -> keras.Model:
    """Returns the plain functional model of the source task on a transfer model's common part."""
    x = inputs = keras.Input(private.input_shape, dtype="float32", name="inputs")
    if private.adapter is not None:
        x = replay(private.adapter, replay(private.preprocess, x, RenamedCopies("source_")))
    common = (model.preprocess, model.backbone) if private.common is None else (private.common,)
    for part in (*common, private.neck, private.head):
        x = replay(part, x)
    return keras.Model(inputs, x, name="source_model")


def _stacked(x, source_x):
    """Returns the rows of both in one batch; pictures of one task may be bytes and of the other not."""
    if x.dtype != source_x.dtype:
        x, source_x = ops.cast(x, "float32"), ops.cast(source_x, "float32")
    return ops.concatenate([x, source_x])


class _Held:
    """Holds a value that Keras must not track as a part of the model."""

    def __init__(self, value):
        self.value = value

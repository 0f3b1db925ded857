"""Two tasks on one network: a common part, and a private part for each."""

import keras
import tensorflow as tf
from keras import ops

from tlkeras.config import HeadConfig, NeckConfig
from tlkeras.models.graph import replay
from tlkeras.models.heads import build_head
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck
from tlkeras.models.paired_fit import PairedFit


class PrivatePart:
    """What belongs to the source task alone: neck, head and, for inputs of another width, an adapter.

    Args:
        model: The target's transfer model; its preprocessing and backbone are the common part.
        neck: Like the target's.
        head: The source's.
        input_shape: Of the source's inputs; vectors may be of another width than the target's.
        num_outputs: Of the source's logits.
        seed: Of the initial weights.
    """

    def __init__(
        self, model, neck: NeckConfig, head: HeadConfig, input_shape: tuple, num_outputs: int, seed: int
    ):
        expected = tuple(model.preprocess.input_shape[1:])
        self.adapter = None
        with reproducible(seed, "source_private"):
            if tuple(input_shape) != expected and len(input_shape) == len(expected) == 1:
                inputs = keras.Input(input_shape, name="source_inputs")
                dense = keras.layers.Dense(expected[0], name="source_adapter")
                self.adapter = keras.Model(inputs, dense(inputs), name="source_adapter_part")
            self.neck = build_neck(neck, model.backbone.outputs[0])
            self.head = build_head(head, num_outputs, self.neck.outputs[0])
        self.input_shape = tuple(input_shape)

    @property
    def parts(self) -> list[keras.Model]:
        """The models that make it up."""
        return [part for part in (self.adapter, self.neck, self.head) if part is not None]


class JointModel(PairedFit):
    """Trains a target and a source task together: class loss + weight * the source's, one update.

    Batches are `((target_x, target_y[, weight]), (source_x, source_y))`. The tasks pass the common part
    one after the other, so that BatchNormalization sees each by itself; gradients add up there. The
    target's model is trained in place; validation and metrics are the target's.

    Args:
        model: The target's transfer model, with its stage selected.
        private: The source's private part.
        source_loss: Keras loss on the source's logits.
        weight: Of the source's loss.
        alternating: Whether even steps train the target and odd steps the source.
    """

    def __init__(self, model, private: PrivatePart, source_loss, weight: float, alternating: bool):
        super().__init__(name="joint")
        self.model = model  # first, so that its variables have the names that they have by themselves
        self.source_parts = private.parts
        self.private = _Held(private)
        self.source_loss, self.weight, self.alternating = source_loss, float(weight), alternating
        self.source_tracker = keras.metrics.Mean(name="source_loss")
        self.built = True

    def build(self, input_shape=None):
        """Nothing is left to create."""
        self.built = True

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

    def source_logits(self, x, training=None):
        """Returns the source's logits `(b, classes)` for its inputs."""
        private = self.private.value
        if private.adapter is not None:
            x = private.adapter(x, training=training)
        x = self.model.before_tail(x)
        if self.model.tail is not None:
            x = self.model.tail(x, training=training)
        return private.head(private.neck(x, training=training), training=training)

    def train_step(self, data):
        """One step on both tasks."""
        x, labels, sample_weight = self.labelled_part(data)
        source_x, source_labels = data[1][:2]
        with tf.GradientTape() as tape:
            logits = self.model(x, training=True)
            loss = self.compute_loss(x, labels, logits, sample_weight, training=True)
            source_loss = self.source_loss(source_labels, self.source_logits(source_x, training=True))
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
    for part in (private.adapter, model.preprocess, model.backbone, private.neck, private.head):
        x = x if part is None else replay(part, x)
    return keras.Model(inputs, x, name="source_model")


class _Held:
    """Holds a value that Keras must not track as a part of the model."""

    def __init__(self, value):
        self.value = value

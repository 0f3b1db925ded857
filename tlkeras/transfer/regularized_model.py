"""The model that fine-tunes under a regularizer."""

import tensorflow as tf
from keras import ops

from tlkeras.errors import UserError
from tlkeras.models.distributed_fit import DistributedFit, scale_for_replicas
from tlkeras.transfer.regularizers.base import Batch, Regularizer, Setting


class RegularizedModel(DistributedFit):
    """Wraps a transfer model for one stage of fine-tuning: class loss plus `weight` times a regularizer's.

    The wrapped model's variables are trained in place, and it is what is saved. With weight 0 a step is
    the plain one, bit for bit. Compile anew, and make a new one, for each stage.

    Args:
        model: The transfer model, with the stage selected.
        regularizer: What holds it back.
        setting: All of a `Setting` but `model` and `add_weight`.

    Raises:
        UserError: Where the regularizer finds nothing to act on.
    """

    def __init__(self, model, regularizer: Regularizer, **setting):
        # A name of its own, so that names of variables are the same in a process that resumes.
        super().__init__(name="regularized")
        self.regularizer = regularizer
        self.model = model
        self.setting = _Held(Setting(model=model, add_weight=self.add_weight, **setting))
        if regularizer.needs_backbone and not self.setting.value.backbone_variables:
            raise UserError(
                "This regularizer acts on the backbone, of which this stage trains nothing: open blocks "
                f"(train='last:1') or drop it. Received: train={setting['stage'].train!r}, "
                f"regularizer={setting['stage'].regularizer.name!r}"
            )
        self.acts = regularizer.weight > 0
        if self.acts:
            regularizer.prepare(self.setting.value)
        self.built = True

    def build(self, input_shape=None):
        """Nothing is left to create."""
        self.built = True

    @property
    def input_shape(self) -> tuple:
        """That of the wrapped model."""
        return self.model.input_shape

    @property
    def trainable_variables(self):
        """What the optimizer moves: the model's variables, as far as the regularizer leaves them free."""
        variables = super().trainable_variables
        return self.regularizer.trained(variables) if self.acts else variables

    def call(self, x, training=None):
        """Returns the wrapped model's logits."""
        return self.model(x, training=training)

    def make_train_function(self, force=False):
        """As ever, after the regularizer's last preparations."""
        if self.acts and self.train_function is None:
            self.regularizer.begin()
        return super().make_train_function(force)

    def train_step(self, data):
        """One step: forward, class loss + weight * the regularizer's, one update."""
        x, labels, sample_weight = self.labelled_part(data)
        with tf.GradientTape() as tape:
            if self.acts:
                step = ops.convert_to_tensor(self.optimizer.iterations)
                features, logits = self.regularizer.forward(self.model, x, step)
            else:
                features, logits = None, self.model(x, training=True)
            loss = self.compute_loss(x, labels, logits, sample_weight, training=True)
            extra = self.regularizer.loss(Batch(x, labels, features, logits)) if self.acts else None
            if extra is not None:
                loss = loss + scale_for_replicas(self.regularizer.weight * extra)
            scaled = self.optimizer.scale_loss(loss)
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        self._loss_tracker.update_state(loss * replicas, sample_weight=ops.shape(logits)[0])
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, variables)
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        if self.acts:
            self.regularizer.after_update()
        self.compute_metrics(x, labels, logits, sample_weight=sample_weight)


class _Held:
    """Holds a value that Keras must not track as a part of the model."""

    def __init__(self, value):
        self.value = value

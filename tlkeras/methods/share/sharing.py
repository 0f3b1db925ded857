"""Two tasks on one network: a common part, and a private part for each."""

import keras
from keras import ops

from tlkeras.backend.replicas import replica_count
from tlkeras.config import ModelConfig, TasksConfig
from tlkeras.methods.term import Term
from tlkeras.models.adapter import adapter_and_common, build_adapter, preprocessing_of
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.backbones.registry import BACKBONES
from tlkeras.models.build import neck_for
from tlkeras.models.cuts.graph import RenamedCopies, replay
from tlkeras.models.heads import build_head
from tlkeras.models.naming import reproducible
from tlkeras.models.neck import build_neck, prefix_tokens


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
            family = BACKBONES.get(model_config.backbone).family
            neck = neck_for(tasks.neck or model_config.neck, tasks.head, family)
            self.neck = build_neck(neck, model.backbone.outputs[0], prefix_tokens(model.backbone))
            self.head = build_head(tasks.head, num_outputs, self.neck.outputs[0])
        self.target_adapter, self.common = adapter_and_common(model.backbone)
        self.input_shape = tuple(input_shape)

    @property
    def parts(self) -> list[keras.Model]:
        """The models that make it up."""
        return [part for part in (self.adapter, self.neck, self.head) if part is not None]


class SecondTask(Term):
    """Trains a second task beside the labelled rows: class loss + weight * the second task's, one update.

    Batches are `((target_x, target_y[, weight]), (source_x, source_y))`. Both tasks' rows pass the common
    part in one batch, so that BatchNormalization trains with the statistics that it keeps; gradients add up
    there. Validation and metrics are the target's.

    Args:
        private: The source's private part.
        source_loss: Keras loss on the source's logits.
        weight: Of the source's loss.
        alternating: Whether even updates train the target and odd updates the source; the private part of
            the idle task stays as it is, whatever momentum and weight decay say.
        inference: Whether the common part is called as in inference (a stage with `bn="inference"`).
    """

    name = "share_gradients"
    passes_rows = takes_second_batch = needs_inputs = True

    def __init__(
        self, private: PrivatePart, source_loss, weight: float, alternating: bool, inference: bool = False
    ):
        super().__init__("source_task")
        self.private, self.source_loss, self.weight = private, source_loss, float(weight)
        self.alternating, self.inference = alternating, inference
        self.own.parts = private.parts
        self.own.source_loss = keras.metrics.Mean(name="source_loss")

    def compiled(self, model) -> None:
        """Lets an optimizer of tlkeras leave the private part of an idle task alone."""
        self._optimizer = model.optimizer
        if self.alternating:
            optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            optimizer.turns = tuple(self._turn(model.model, v) for v in model.trainable_variables)

    def _turn(self, model, variable) -> int | None:
        """Returns the parity of the steps of the task that a variable belongs to; None for common ones."""
        own = (model.neck, model.head, self.private.target_adapter)
        for turn, parts in enumerate(([part for part in own if part is not None], self.private.parts)):
            if any(variable is v for part in parts for v in part.variables):
                return turn
        return None

    def forward(self, model, x, step):
        """Returns features and logits, each of the target's rows and of the source's, after one common pass.

        Args:
            model: The target's transfer model.
            x: Inputs of the target and of the source.
            step: Not used.
        """
        own_x, source_x = x
        private = self.private
        if private.adapter is not None:
            source_x = private.adapter(private.preprocess(source_x), training=True)
        common_training = not self.inference
        if private.common is None:
            both = model.before_tail(_stacked(own_x, source_x))
            both = model.through_tail(both, training=common_training)
        else:
            own_x = private.target_adapter(model.preprocess(own_x), training=common_training)
            both = private.common(_stacked(own_x, source_x), training=common_training)
        rows = ops.shape(own_x)[0]
        own = model.neck(both[:rows], training=True)
        others = private.neck(both[rows:], training=True)
        return (own, others), (model.classify(own, training=True), private.head(others, training=True))

    def loss(self, second_labels, second_logits):
        """Returns the source's loss."""
        return self.source_loss(second_labels, second_logits)

    def add_to(self, loss, value):
        """Returns the sum of both losses, or the one of the task whose turn it is.

        A Keras loss is divided by the number of replicas already.
        """
        if not self.alternating:
            return loss + self.weight * value
        even = ops.equal(ops.convert_to_tensor(self._optimizer.iterations) % 2, 0)
        return ops.where(even, loss, self.weight * value)

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the mean of the source's loss."""
        rows = ops.shape(logits.source)[0]
        self.own.source_loss.update_state(value * replica_count(), sample_weight=rows)


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

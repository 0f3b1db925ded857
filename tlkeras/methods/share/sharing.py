"""Two tasks on one network: a common part, and a private part for each."""

from typing import Any

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
from tlkeras.models.neck import build_neck


class PrivatePart:
    """The private part of the source task: neck, head and, for inputs of another shape, an adapter.

    Args:
        model: Transfer model of the target. Its backbone without the target's adapter is the common part.
        model_config: Model config of the target, whose neck is used if the source has none.
        tasks: Config with neck, head and adapter of the source.
        input_shape: Shape of one input of the source.
        num_outputs: Number of logits of the source.
        seed: Seed of the initial weights.

    Attributes:
        target_adapter: Adapter of the target, or None if the whole backbone is common.
        common: Common part after that adapter, or None if the whole backbone is common.
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
        self.preprocess: Any = None
        self.adapter: Any = None
        with reproducible(seed, "source_private"):
            if tasks.adapter is not None:
                self.preprocess = build_preprocessing(preprocessing_of(tasks.adapter), input_shape)
                self.adapter = build_adapter(tasks.adapter, input_shape)
            row = BACKBONES.get(model_config.backbone)
            neck = neck_for(tasks.neck or model_config.neck, tasks.head, row.family)
            prefix = row.prefix_tokens(model_config.backbone_options)
            self.neck = build_neck(neck, model.backbone.outputs[0], prefix, row.family.pads)
            self.head = build_head(tasks.head, num_outputs, self.neck.outputs[0])
        self.target_adapter, self.common = adapter_and_common(model.backbone)
        self.input_shape = tuple(input_shape)

    @property
    def parts(self) -> list[keras.Model]:
        """Models of which the private part consists."""
        return [part for part in (self.adapter, self.neck, self.head) if part is not None]


class SecondTask(Term):
    """Trains a second task in the same step. The loss is the class loss plus `weight` times that of the task.

    Batches are `((target_x, target_y[, weight]), (source_x, source_y))`. The rows of both tasks pass the
    common part in one batch, so that BatchNormalization trains with the statistics that are saved. The
    gradients of both tasks add up there. Validation and metrics are those of the target.

    Args:
        private: Private part of the source.
        source_loss: Keras loss on the logits of the source.
        weight: Factor of the loss of the source.
        alternating: Whether even updates train the target and odd updates the source. The private part of the
            idle task then does not change, not even by momentum or weight decay.
        inference: Whether the common part is called in inference mode (a stage with `bn="inference"`).
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
        """Tells an optimizer of tlkeras not to change the private part of the idle task."""
        self._optimizer = model.optimizer
        if self.alternating:
            optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
            optimizer.turns = tuple(self._turn(model.model, v) for v in model.trainable_variables)

    def _turn(self, model, variable) -> int | None:
        """Returns the parity of the steps that train a variable, or None for a common variable."""
        own = (model.neck, model.head, self.private.target_adapter)
        for turn, parts in enumerate(([part for part in own if part is not None], self.private.parts)):
            if any(variable is v for part in parts for v in part.variables):
                return turn
        return None

    def forward(self, model, x, step):
        """Returns features and logits, each as a pair for target and source, after one common pass.

        Args:
            model: Transfer model of the target.
            x: Pair of the inputs of target and source.
            step: Number of the step, which is not used.
        """
        own_x, source_x = x
        private = self.private
        if private.adapter is not None:
            source_x = private.adapter(private.preprocess(source_x), training=True)
        common_training = not self.inference
        if private.common is None or private.target_adapter is None:
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
        """Returns the loss of the source."""
        return self.source_loss(second_labels, second_logits)

    def add_to(self, loss, value):
        """Returns the sum of both losses, or in alternating steps the loss of the active task.

        A Keras loss is already divided by the number of replicas.
        """
        if not self.alternating:
            return loss + self.weight * value
        even = ops.equal(ops.convert_to_tensor(self._optimizer.iterations) % 2, 0)
        return ops.where(even, loss, self.weight * value)

    def measure(self, value, class_loss, labels, logits) -> None:
        """Updates the mean loss of the source."""
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
    """Concatenates the rows of both tasks. Pictures of one task may be uint8 and those of the other float."""
    if x.dtype != source_x.dtype:
        x, source_x = ops.cast(x, "float32"), ops.cast(source_x, "float32")
    return ops.concatenate([x, source_x])

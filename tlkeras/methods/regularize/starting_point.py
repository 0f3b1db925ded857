"""Regularizers that keep the model near its start: weights (L2-SP) or feature maps (DELTA)."""

import keras
from keras import ops

from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import nodes_in_order


@REGULARIZERS.register("l2_sp")
class L2SP(Regularizer):
    """Half the squared distance to the start weights (Li et al. 2018, "Explicit inductive bias", L2-SP).

    The loss is `weight / 2 * sum (w - w0)^2` over the trained variables of the backbone, where w0 are the
    weights before the first stage of the run. A new head is left out, because its start is random. For the
    decay of the head in the paper, set the optimizer's `weight_decay`. The head `class_names` starts from the
    names of the classes. With `head` above 0 they are an anchor: the squared distance of the head's variables
    counts `head` times as much as that of the backbone's.

    Args:
        weight: Factor of the loss.
        head: Factor of the head's part, at least 0. The columns of the kernel of `class_names` are as long as
            the scale of the logits, 100 in CLIP, so that factors far below 1 are usual.
    """

    default_weight = 0.01

    def __init__(self, weight: float | None = None, head: float = 0.0):
        super().__init__(weight)
        if not isinstance(head, int | float) or not 0 <= head < float("inf"):
            raise UserError(f"l2_sp: options.head must be a number of at least 0. Received: {head!r}")
        self.head, self.needs_backbone = float(head), not head

    def act_on(self, setting: Setting) -> None:
        """Copies the start weights.

        Raises:
            UserError: The head is to stay near a random start.
        """
        kind = setting.model_config.head.name if setting.model_config is not None else "class_names"
        if self.head and kind != "class_names":
            raise UserError(
                "l2_sp keeps a head near its start only if this is not random: set "
                "model.head.name=class_names, or leave options.head out. "
                f"Received: options.head={self.head:g}, model.head.name={kind}"
            )
        opened = setting.backbone_variables
        of_head = list(setting.model.head.trainable_variables) if self.head else []
        self._variables = [*opened, *of_head]
        self._factors = [1.0] * len(opened) + [self.head] * len(of_head)
        self._start = setting.start_copies(self._variables)

    def loss(self):
        """Returns half the squared distance of the weights."""
        parts = zip(self._variables, self._start, self._factors, strict=True)
        return 0.5 * sum(
            factor * ops.sum(ops.square(ops.cast(v, "float32") - ops.cast(s, "float32")))
            for v, s, factor in parts
        )


@REGULARIZERS.register("delta")
class Delta(Regularizer):
    """Feature maps stay near those of the start network (Li et al. 2019, DELTA, equation 4).

    The loss is half the squared difference between the outputs of some opened blocks and the outputs with the
    start weights for the same rows. It is the mean over rows and positions and the sum over channels. All
    channels have equal weights. The paper weights them by the loss of a trained head without each channel.

    The equation in the paper sums over positions. The mean is used in the authors' code with attention. With
    it, a weight has the same effect for any picture size and block. The authors' code and tllib also sum over
    rows, so that their factor 0.01 with 48 rows is 0.48 here. tllib's `BehavioralRegularization` without
    attention is this loss times the number of rows and, in each block, of positions.

    Args:
        weight: Factor of the loss.
        blocks: Number of opened blocks that are compared. They are evenly spaced and include the last one.
    """

    default_weight = 0.01
    passes_rows = True

    def __init__(self, weight: float | None = None, blocks: int = 4):
        super().__init__(weight)
        self.blocks = int(blocks)
        if self.blocks < 1:
            raise UserError(f"delta needs at least one block. Received: options.blocks={blocks}")

    def act_on(self, setting: Setting) -> None:
        """Selects the feature maps and copies the start weights."""
        tail, self._trains = setting.model.tail, setting.stage.bn != "inference"
        outputs = {node.operation.name: node.output_tensors[0] for node in nodes_in_order(tail)}
        names = [block.cut.name for block in setting.model.blocks[:-1] if block.cut.name in outputs]
        places = evenly_taken(len(names) + 1, self.blocks)[:-1]  # the last block ends the tail
        self._maps = keras.Model(tail.inputs, [tail.outputs[0], *(outputs[names[i]] for i in places)])
        moving = [v for v in setting.model.backbone.variables if "moving_" in v.path]
        self._variables = [*setting.backbone_variables, *moving]
        self._start = setting.start_copies(self._variables)

    def forward(self, model, x, step):
        """Returns features and logits, and stores the feature maps of this step."""
        self._inputs = model.before_tail(x)
        self._now = keras.tree.flatten(self._maps(self._inputs, training=self._trains))
        features = model.neck(self._now[0], training=True)
        return features, model.classify(features, training=True)

    def loss(self):
        """Returns half the squared difference of the feature maps."""
        mapping = [(v, s.value) for v, s in zip(self._variables, self._start, strict=True)]
        with keras.StatelessScope(state_mapping=mapping):
            start = keras.tree.flatten(self._maps(self._inputs, training=False))
        total = 0.0
        for now, before in zip(self._now, start, strict=True):
            apart = ops.square(ops.cast(now, "float32") - ops.stop_gradient(ops.cast(before, "float32")))
            total += 0.5 * ops.mean(ops.sum(apart, axis=-1))
        return total


def evenly_taken(total: int, count: int) -> list[int]:
    """Returns at most `count` evenly spaced numbers of 0 to `total - 1`, including the last one."""
    count = min(count, total)
    return [(i + 1) * total // count - 1 for i in range(count)]

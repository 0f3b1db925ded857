"""Stay near the start: in the weights (L2-SP), or in the feature maps (DELTA)."""

import keras
from keras import ops

from tlkeras.errors import UserError
from tlkeras.methods.regularize.base import REGULARIZERS, Regularizer
from tlkeras.methods.term import Setting
from tlkeras.models.cuts.graph import nodes_in_order


@REGULARIZERS.register("l2_sp")
class L2SP(Regularizer):
    """Half the squared distance to the start weights (Li et al. 2018, "Explicit inductive bias", L2-SP).

    The loss is `weight / 2 * sum (w - w0)^2` over the backbone's trained variables; w0 are the weights
    before the run's first stage. The new head has no start worth keeping and is left out: for the
    paper's decay of the head set the optimizer's `weight_decay`.
    """

    default_weight = 0.01

    def act_on(self, setting: Setting) -> None:
        """Copies the start weights."""
        self._variables = setting.backbone_variables
        self._start = setting.start_copies(self._variables)

    def loss(self):
        """Returns half the squared distance of the weights."""
        pairs = zip(self._variables, self._start, strict=True)
        squares = [ops.sum(ops.square(ops.cast(v, "float32") - ops.cast(s, "float32"))) for v, s in pairs]
        return 0.5 * sum(squares)


@REGULARIZERS.register("delta")
class Delta(Regularizer):
    """Feature maps stay near those of the start network (Li et al. 2019, DELTA, equation 4).

    For the outputs of some opened blocks the loss is half the squared difference to what the start
    weights give for the same rows: the mean over rows and positions, the sum over channels. All
    channels count alike; the paper weighs them by how much a trained head loses without each.

    The equation sums over positions. The mean is what the authors' code takes with attention; with it a
    weight holds as hard at any picture size and in any block. Both the authors' code and tllib sum over
    rows as well, so that their factor .01 at 48 rows is .48 here. tllib's `BehavioralRegularization`,
    without attention, is this loss times rows and, in each block, positions.

    Args:
        weight: Factor of the loss.
        blocks: How many of the opened blocks are compared, evenly taken, the last one included.
    """

    default_weight = 0.01
    passes_rows = True

    def __init__(self, weight: float | None = None, blocks: int = 4):
        super().__init__(weight)
        self.blocks = int(blocks)
        if self.blocks < 1:
            raise UserError(f"delta compares one block or more. Received: options.blocks={blocks}")

    def act_on(self, setting: Setting) -> None:
        """Finds the feature maps and copies the start weights."""
        tail, self._trains = setting.model.tail, setting.stage.bn != "inference"
        outputs = {node.operation.name: node.output_tensors[0] for node in nodes_in_order(tail)}
        names = [block.cut.name for block in setting.model.blocks[:-1] if block.cut.name in outputs]
        places = evenly_taken(len(names) + 1, self.blocks)[:-1]  # the last block ends the tail
        self._maps = keras.Model(tail.inputs, [tail.outputs[0], *(outputs[names[i]] for i in places)])
        moving = [v for v in setting.model.backbone.variables if "moving_" in v.path]
        self._variables = [*setting.backbone_variables, *moving]
        self._start = setting.start_copies(self._variables)

    def forward(self, model, x, step):
        """Returns features and logits, and keeps the feature maps of this step."""
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
    """Returns at most `count` of the places 0 to `total - 1`, evenly taken, the last one included."""
    count = min(count, total)
    return [(i + 1) * total // count - 1 for i in range(count)]

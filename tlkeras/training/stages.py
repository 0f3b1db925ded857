"""Numbers that follow from the config of a stage: gradual stages, steps, learning-rate multipliers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tlkeras.config import StageConfig
from tlkeras.errors import unknown


@dataclass(frozen=True)
class Steps:
    """The length of a stage.

    Attributes:
        total: Number of optimizer steps of the stage.
        per_epoch: Number of steps of an epoch. The last epoch may be shorter.
        epochs: Number of epochs, which is the number of entries in the log.
    """

    total: int
    per_epoch: int
    epochs: int


def count_steps(stage: StageConfig, rows: int, batch_size: int) -> Steps:
    """Returns the length of a stage.

    If `stage.steps` is given, it is the exact number of steps. They are divided into epochs of similar
    length, none longer than a pass over the data. Otherwise the length is `stage.epochs` passes, each without
    an incomplete last batch.

    Args:
        stage: Config of the stage.
        rows: Number of training rows.
        batch_size: Number of rows per step.
    """
    per_pass = max(rows // batch_size, 1)
    if stage.steps is None:
        return Steps(per_pass * stage.epochs, per_pass, stage.epochs)
    epochs = math.ceil(stage.steps / per_pass)
    per_epoch = math.ceil(stage.steps / epochs)
    return Steps(stage.steps, per_epoch, math.ceil(stage.steps / per_epoch))


def expand_stages(stages: Sequence[StageConfig], block_names: Sequence[str]) -> list[StageConfig]:
    """Returns the stages, in which each gradual stage is replaced by one stage per block that it opens."""
    expanded = []
    for stage in stages:
        depth = _depth(stage.train, block_names) if stage.gradual else 0
        if depth < 2:
            expanded.append(stage.model_copy(update={"gradual": False}))
            continue
        for count in range(1, depth + 1):
            update = {"name": f"{stage.name}_{count}", "train": f"last:{count}", "gradual": False}
            if count == depth:
                update["train"] = stage.train
            expanded.append(stage.model_copy(update=update))
    return expanded


def learning_rate_multipliers(stage: StageConfig, model, selection) -> dict[str, float]:
    """Returns a factor for the learning rate of each trainable variable, by variable path.

    The factor is `layer_decay ** depth`, times the factors in `stage.learning_rate_multipliers` for its part
    (`backbone`, `neck`, `head`) and its block. Neck and head have depth 0, and the last block has depth 1.

    Args:
        stage: Config of the stage.
        model: Transfer model.
        selection: Selection of the trained part.

    Raises:
        UserError: There is a multiplier for a part or block that the model does not have.
    """
    names_of = _names_by_variable(model)
    known = dict.fromkeys(name for names in names_of.values() for name in names)
    for name in stage.learning_rate_multipliers:
        if name not in known:
            raise unknown("part or block in learning_rate_multipliers", name, known)
    factors = {}
    for variable in model.trainable_variables:
        factor = stage.layer_decay ** selection.depths.get(variable.path, 0)
        for name in names_of.get(variable.path, ()):
            factor *= stage.learning_rate_multipliers.get(name, 1.0)
        factors[variable.path] = factor
    return factors


def _depth(train: str, block_names: Sequence[str]) -> int:
    """Returns the number of blocks, counted from the last, that a `train` setting opens."""
    kind, _, argument = train.partition(":")
    if kind == "last":
        return min(int(argument), len(block_names))
    if kind == "from" and argument in block_names:
        return len(block_names) - list(block_names).index(argument)
    return len(block_names) if kind == "all" else 0


def _names_by_variable(model) -> dict[str, tuple[str, ...]]:
    """Returns the names of the part and the block of each variable of the model, by path."""
    names = {v.path: ("backbone",) for v in model.backbone.variables}
    for block in model.blocks:
        for layer in block.layers:
            names |= {v.path: ("backbone", block.name) for v in layer.variables}
    for part in ("neck", "head"):
        names |= {v.path: (part,) for v in getattr(model, part).variables}
    return names

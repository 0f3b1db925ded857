"""What a stage with a regularizer adds: the model around the model."""

from tlkeras.config import StageConfig
from tlkeras.errors import UserError
from tlkeras.prepare import Parts
from tlkeras.training import snapshots
from tlkeras.training.adapting import adapts
from tlkeras.training.states import RunStates
from tlkeras.transfer.regularized_model import RegularizedModel
from tlkeras.transfer.regularizers import REGULARIZERS, make_regularizer


def regularized_model(parts: Parts, stage: StageConfig, states: RunStates) -> RegularizedModel:
    """Returns the model that trains in a stage with a regularizer, around the run's model.

    Args:
        parts: The run's parts; its model has the stage selected.
        stage: The stage.
        states: Know the weights before the run's first stage.

    Raises:
        UserError: Where the regularizer does not suit the stage.
    """
    if adapts(parts, stage):
        raise UserError(
            "A stage adapts to the target or is regularised, not both: set adapt=false in it. "
            f"Received: stages.{stage.name}.regularizer.name={stage.regularizer.name}"
        )
    wanted = stage.regularizer
    return RegularizedModel(
        parts.model,
        make_regularizer(wanted.name, wanted.weight, wanted.options),
        stage=stage,
        source=parts.config.model,
        domain=parts.source,
        start=_start_values(parts.model, states),
        seed=parts.config.seed,
    )


def looks_at_inputs(stage: StageConfig) -> bool:
    """Whether the stage's regularizer needs raw inputs, so that features cannot take their place."""
    return stage.regularizer is not None and REGULARIZERS.get(stage.regularizer.name).needs_inputs


def _start_values(model, states: RunStates) -> dict:
    """Returns what the run's first stage began with, by variable path; empty before it has begun."""
    start = states.start(0).load()
    named = snapshots.named_variables(model)
    if start is None:
        return {}
    return {n: a for n, a in start[0].items() if n in named and tuple(named[n].shape) == a.shape}

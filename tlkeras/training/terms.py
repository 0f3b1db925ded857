"""The terms of a stage: what its config adds to the class loss."""

from tlkeras.config import FitStageConfig
from tlkeras.methods.adapt.configured import configured_term
from tlkeras.methods.regularize import REGULARIZERS, make_regularizer
from tlkeras.methods.term import Term
from tlkeras.methods.training_model import TrainingModel
from tlkeras.prepare import Parts
from tlkeras.training import snapshots
from tlkeras.training.adaptation_watch import adapts
from tlkeras.training.checkpoints import RunStates
from tlkeras.training.second_task import second_task, trains_jointly
from tlkeras.training.stages import Steps


def training_model(parts: Parts, stage: FitStageConfig, steps: Steps, states: RunStates) -> TrainingModel:
    """Returns the model that trains in a stage by steps, around the run's model.

    Args:
        parts: The run's parts; its model has the stage selected.
        stage: The stage.
        steps: How long it is.
        states: Know the weights before the run's first stage.

    Raises:
        UserError: A term does not suit the stage, or two exclude each other.
    """
    return TrainingModel(
        parts.model,
        tuple(stage_terms(parts, stage)),
        steps=steps.total,
        seed=parts.config.seed,
        stage=stage,
        source=parts.config.model,
        domain=parts.source,
        start=_start_values(parts.model, states) if stage.regularizer is not None else {},
    )


def stage_terms(parts: Parts, stage: FitStageConfig) -> list[Term]:
    """Returns what a stage adds to the class loss; a regularizer of weight 0 is none."""
    terms: list[Term] = []
    if trains_jointly(parts.config):
        terms.append(second_task(parts, stage))
    if adapts(parts, stage):
        terms.append(configured_term(parts.config.adaptation))
    if stage.regularizer is not None:
        wanted = stage.regularizer
        regularizer = make_regularizer(wanted.name, wanted.weight, wanted.options)
        terms += [regularizer] if regularizer.weight > 0 else []
    return terms


def looks_at_inputs(stage: FitStageConfig) -> bool:
    """Whether the stage's regularizer needs raw inputs, so that features cannot take their place."""
    return stage.regularizer is not None and REGULARIZERS.get(stage.regularizer.name).needs_inputs


def _start_values(model, states: RunStates) -> dict:
    """Returns what the run's first stage began with, by variable path; empty before it has begun."""
    start = states.start(0).load()
    named = snapshots.named_variables(model)
    if start is None:
        return {}
    return {n: a for n, a in start[0].items() if n in named and tuple(named[n].shape) == a.shape}

"""The terms that the config of a stage adds to the class loss."""

from tlkeras.config import FitStageConfig
from tlkeras.methods.adapt.configured import configured_term
from tlkeras.methods.regularize import REGULARIZERS, make_regularizer
from tlkeras.methods.term import Term
from tlkeras.methods.training_model import TrainingModel
from tlkeras.prepare import Parts
from tlkeras.training import snapshots
from tlkeras.training.checkpoints import RunStates
from tlkeras.training.second_task import second_task, trains_jointly
from tlkeras.training.stages import Steps


def training_model(parts: Parts, stage: FitStageConfig, steps: Steps, states: RunStates) -> TrainingModel:
    """Returns the training model of a stage, which contains the model of the run.

    Args:
        parts: Parts of the run, whose model has the stage selected.
        stage: Config of the stage.
        steps: Length of the stage.
        states: States of the run, which contain the weights before its first stage.

    Raises:
        UserError: A term does not fit the stage, or two terms exclude each other.
    """
    return TrainingModel(
        parts.model,
        tuple(stage_terms(parts, stage)),
        steps=steps.total,
        seed=parts.config.seed,
        stage=stage,
        model_config=parts.config.model,
        domain=parts.source,
        start=_start_values(parts.model, states) if stage.regularizer is not None else {},
    )


def stage_terms(parts: Parts, stage: FitStageConfig) -> list[Term]:
    """Returns the terms of a stage. A regularizer with weight 0 is left out."""
    terms: list[Term] = []
    if trains_jointly(parts.config):
        terms.append(second_task(parts, stage))
    if parts.config.adapts_in(stage):
        terms.append(configured_term(parts.config.adaptation))
    if stage.regularizer is not None:
        wanted = stage.regularizer
        regularizer = make_regularizer(wanted.name, wanted.weight, wanted.options)
        terms += [regularizer] if regularizer.weight > 0 else []
    return terms


def looks_at_inputs(stage: FitStageConfig) -> bool:
    """Whether the regularizer of the stage needs raw inputs, so that the stage cannot train on features."""
    return stage.regularizer is not None and REGULARIZERS.get(stage.regularizer.name).needs_inputs


def _start_values(model, states: RunStates) -> dict:
    """Returns the values before the first stage by variable path. The dict is empty before that stage."""
    start = states.start(0).load()
    named = snapshots.named_variables(model)
    if start is None:
        return {}
    return {n: a for n, a in start[0].items() if n in named and tuple(named[n].shape) == a.shape}

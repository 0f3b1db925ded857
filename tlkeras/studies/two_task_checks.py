"""Checks which options cannot be combined with two tasks, before anything is written."""

from collections.abc import Iterator, Mapping

from tlkeras.config import ExperimentConfig
from tlkeras.errors import UserError


def check_tasks(config: ExperimentConfig, data: Mapping[str, tuple] | None = None) -> None:
    """Checks an experiment with `tasks`. An experiment without `tasks` passes.

    Args:
        config: Config of the experiment.
        data: Arrays that replace its source, as in `run_experiment`.

    Raises:
        UserError: The config combines `tasks` with an option that tasks do not support.
    """
    if config.tasks is None:
        return
    for mistake in (*_of_every_strategy(config, data), *_of_shared_gradients(config)):
        raise UserError(mistake)


def _of_every_strategy(config: ExperimentConfig, data: Mapping[str, tuple] | None) -> Iterator[str]:
    if data is not None:
        yield (
            "Tasks need two data sources, and `data` replaces only one: write the arrays to files and set "
            "data.source and tasks.source.source to them (npz:FILE.npz). "
            f"Received: tasks and data with {', '.join(data)}"
        )
    for where, domain in (("data", config.data), ("tasks.source", config.tasks.source)):
        if domain.folds is not None and domain.fold is None:
            yield (
                f"Folds and tasks each need several runs: use one fold at a time ({where}.fold=0). "
                f"Received: {where}.folds={domain.folds} and tasks"
            )
        if domain.columns:
            yield (
                "The first layers of columns belong to their values, so that two tasks have no common part: "
                "use pictures, texts, sounds or vectors (npz:FILE). "
                f"Received: {where}.columns={','.join(domain.columns)} and tasks"
            )
    if config.model.nested is not None:
        yield (
            "model.nested and tasks are two ways to use a source model: choose one of them. "
            f"Received: model.nested.source={config.model.nested.source!r} and tasks"
        )


def _of_shared_gradients(config: ExperimentConfig) -> Iterator[str]:
    if config.tasks.strategy != "share_gradients":
        return
    stages, adaptation = config.stages, config.adaptation
    if config.adapts:
        yield (
            "share_gradients adds source batches to each step, and adaptation adds unlabelled target "
            "batches: choose one of them, or adapt with share_weights. Received: "
            f"adaptation.method={adaptation.method}, adaptation.batch_norm={adaptation.batch_norm}"
        )
    if len(stages) != 1 or stages[0].gradual:
        yield (
            "share_gradients trains both tasks in one stage. "
            f"Received: {len(stages)} stages{', the first gradual' * stages[0].gradual}"
        )
    if stages[0].kind == "probe":
        yield (
            "share_gradients trains both tasks by gradients: remove the probe, or choose another strategy "
            f"(share_weights). Received: stages.{stages[0].name}.probe={stages[0].probe.name}"
        )

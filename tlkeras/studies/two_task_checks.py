"""What an experiment of two tasks cannot be combined with, said before anything is written."""

from collections.abc import Iterator, Mapping

from tlkeras.config import ExperimentConfig
from tlkeras.errors import UserError


def check_tasks(config: ExperimentConfig, data: Mapping[str, tuple] | None = None) -> None:
    """Checks an experiment with `tasks`; one without passes.

    Args:
        config: The experiment.
        data: Arrays in place of its source, as `run_experiment` takes them.

    Raises:
        UserError: Tasks stand beside something that would not take part in them.
    """
    if config.tasks is None:
        return
    for mistake in (*_of_every_strategy(config, data), *_of_shared_gradients(config)):
        raise UserError(mistake)


def _of_every_strategy(config: ExperimentConfig, data: Mapping[str, tuple] | None) -> Iterator[str]:
    if data is not None:
        yield (
            "Tasks have two sources, and `data` takes the place of one: write the arrays to files and name "
            "them in data.source and tasks.source.source (npz:FILE.npz). "
            f"Received: tasks and data with {', '.join(data)}"
        )
    for where, domain in (("data", config.data), ("tasks.source", config.tasks.source)):
        if domain.folds is not None and domain.fold is None:
            yield (
                f"Folds are one run each, and so are tasks: take one fold at a time ({where}.fold=0). "
                f"Received: {where}.folds={domain.folds} and tasks"
            )
    if config.model.nested is not None:
        yield (
            "model.nested takes a whole earlier model, and tasks train a source to share: take one of them. "
            f"Received: model.nested.source={config.model.nested.source!r} and tasks"
        )


def _of_shared_gradients(config: ExperimentConfig) -> Iterator[str]:
    if config.tasks.strategy != "share_gradients":
        return
    stages, adaptation = config.stages, config.adaptation
    if config.adapts:
        yield (
            "share_gradients trains beside the source's batches, and adaptation beside the unlabelled "
            "target's: take one of them, or adapt after share_weights. Received: "
            f"adaptation.method={adaptation.method}, adaptation.batch_norm={adaptation.batch_norm}"
        )
    if len(stages) != 1 or stages[0].gradual:
        yield (
            "share_gradients trains both tasks in one stage. "
            f"Received: {len(stages)} stages{', the first gradual' * stages[0].gradual}"
        )
    if stages[0].kind == "probe":
        yield (
            "share_gradients trains both tasks by gradients of their own losses: leave out probe, or share "
            f"another way (share_weights). Received: stages.{stages[0].name}.probe={stages[0].probe.name}"
        )

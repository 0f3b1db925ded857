"""Which metrics may decide on the best model or on the end of a stage."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tlkeras.errors import unknown

if TYPE_CHECKING:
    from tlkeras.config.experiment import ExperimentConfig

# In the place of a metric: no epoch is chosen, the weights stay those of the last step.
LAST_STEP = "last_step"


def check_monitors(config: "ExperimentConfig") -> None:
    """Refuses a monitor that no epoch has, or that looks at target labels.

    Raises:
        ValueError: One line with the allowed names.
    """
    names = _metrics(config.data.task)
    if config.tasks is not None:  # both tasks have the run's checkpoint settings
        names = [name for name in names if name in _metrics(config.tasks.source.task)]
    elif config.adaptation is not None:
        names.append("val_selection")
    if config.checkpoint.monitor is not None:
        _check("checkpoint.monitor", config.checkpoint.monitor, [*names, LAST_STEP])
    names = [*_metrics(config.data.task), *(["val_selection"] if config.adaptation is not None else [])]
    _check_stages("stages", config.stages, names)
    if config.tasks is not None:
        _check_stages("tasks.stages", config.tasks.stages, _metrics(config.tasks.source.task))


def _metrics(task: str) -> list[str]:
    """Returns the names that every epoch of a task has, with the validation rows' first."""
    names = ["loss", "mae" if task == "regression" else "accuracy"]
    return [*(f"val_{name}" for name in names), *names]


def _check_stages(where: str, stages: Iterable, names: list[str]) -> None:
    for stage in stages:
        if stage.kind == "fit" and stage.early_stopping is not None:
            _check(f"{where}.{stage.name}.early_stopping.monitor", stage.early_stopping.monitor, names)


def _check(where: str, monitor: str, names: list[str]) -> None:
    if monitor.startswith("oracle"):
        raise ValueError(
            f"{where}: {monitor} looks at target labels: it is shown, and used for nothing. "
            f"Allowed: {', '.join(names)}. Received: {where}={monitor}"
        )
    if monitor not in names:
        raise ValueError(f"{unknown(f'metric of {where}', monitor, names)} Received: {where}={monitor}")

"""Checks across parts of a config: monitors and metrics, pretext tasks with heads and stages."""

from collections.abc import Iterable, Sequence

from tlkeras.config.adaptation import AdaptationConfig
from tlkeras.config.data import DataConfig
from tlkeras.config.model import HeadConfig
from tlkeras.config.runtime import CheckpointConfig
from tlkeras.config.stage import FitStageConfig, StageConfig
from tlkeras.config.tasks import TasksConfig
from tlkeras.errors import unknown

# This monitor chooses no epoch. The weights are those of the last step.
LAST_STEP = "last_step"


def check_monitors(
    data: DataConfig,
    checkpoint: CheckpointConfig,
    stages: Iterable[StageConfig],
    adaptation: AdaptationConfig | None,
    tasks: TasksConfig | None,
    further: Sequence[str] = (),
) -> None:
    """Refuses a monitor that does not exist or that uses target labels.

    Args:
        data: Config of the data.
        checkpoint: Config of the checkpoints.
        stages: Configs of the stages.
        adaptation: Config of the adaptation, or None.
        tasks: Config of a source task, or None.
        further: Names of the metrics of the experiment in addition to those of the task.

    Raises:
        ValueError: The monitor is not allowed. The message is one line with the allowed names.
    """
    of_data = _metrics(data.task, further)
    names = of_data
    if tasks is not None:  # both tasks use the checkpoint settings of the run
        names = [name for name in names if name in _metrics(tasks.source.task)]
    elif adaptation is not None:
        names = [*names, "val_selection"]
    if checkpoint.monitor is not None:
        _check("checkpoint.monitor", checkpoint.monitor, [*names, LAST_STEP])
    names = [*of_data, *(["val_selection"] if adaptation is not None else [])]
    _check_stages("stages", stages, names)
    if tasks is not None:
        _check_stages("tasks.stages", tasks.stages, _metrics(tasks.source.task))


def usual_metric(task: str) -> str:
    """Returns the name of the metric that every training of a task has."""
    return "mae" if task == "regression" else "accuracy"


def _metrics(task: str, further: Sequence[str] = ()) -> list[str]:
    """Returns the names of the metrics of a task in each epoch, those of the validation rows first."""
    names = ["loss", usual_metric(task), *further]
    return [*(f"val_{name}" for name in names), *names]


def _check_stages(where: str, stages: Iterable[StageConfig], names: list[str]) -> None:
    for stage in stages:
        stopping = stage.early_stopping if stage.kind == "fit" else None
        if stopping is not None and stopping.monitor is not None:
            _check(f"{where}.{stage.name}.early_stopping.monitor", stopping.monitor, names)


def _check(where: str, monitor: str, names: list[str]) -> None:
    if monitor.startswith("oracle"):
        raise ValueError(
            f"{where}: {monitor} uses target labels, so it can be shown but not be used to select a "
            f"model. Allowed: {', '.join(names)}. Received: {where}={monitor}"
        )
    if monitor not in names:
        raise ValueError(f"{unknown(f'metric of {where}', monitor, names)} Received: {where}={monitor}")


def check_pretext(where: str, data: DataConfig, head: HeadConfig, stages: Iterable[StageConfig]) -> None:
    """Raises `ValueError` if head or stages do not fit the pretext task of the data, if it has one.

    Args:
        where: Name of the field of the data, for messages.
        data: Config of the data, with or without a pretext task.
        head: Config of the head of the pretext task.
        stages: Stages that train the pretext task.
    """
    if data.pretext is None:
        return
    name = data.pretext.name
    if name == "simclr" and (head.name != "mlp" or not head.units):
        raise ValueError(
            f"{where}.pretext: simclr needs a projection of two layers: set the head to name='mlp', "
            f"units=[WIDTH]. Received: head={head.name!r}"
        )
    if name == "simclr" and data.batch_size == "auto":
        raise ValueError(
            f"{where}.pretext: the task of simclr depends on the batch size: set it to a number. "
            "Received: batch_size=auto"
        )
    for stage in stages:
        if isinstance(stage, FitStageConfig):
            _check_pretext_stage(where, name, stage)
        elif name == "simclr":
            raise ValueError(
                f"{where}.pretext: simclr cannot be used with a probe. Received: stages.{stage.name}.probe"
            )


def _check_pretext_stage(where: str, name: str, stage: FitStageConfig) -> None:
    augment, of = stage.augment, f"Received: stages.{stage.name}"
    if name == "rotation" and (augment.flip in ("vertical", "both") or augment.rotation >= 45):
        raise ValueError(
            f"{where}.pretext: turned pictures cannot be distinguished from "
            f"augment.flip={augment.flip!r}, augment.rotation={augment.rotation:g}. Allowed: flip 'none' "
            f"or 'horizontal', rotation below 45. {of}"
        )
    if name != "simclr":
        return
    if augment.unmixed.is_identity:
        raise ValueError(
            f"{where}.pretext: simclr compares two augmented views of a picture, which are equal without "
            f"augmentation: set augment, e.g. crop=0.3 and color=0.4. {of}.augment without changes"
        )
    for wrong, given in (
        ("augment.mixup", augment.mixup), ("augment.cutmix", augment.cutmix),
        ("regularizer", stage.regularizer),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{where}.pretext: simclr cannot be used with {wrong}. {of}.{wrong}")

"""Tasks that pictures set by themselves, without labels."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from tlkeras.config.kinds import Kinds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tlkeras.config.data import DataConfig
    from tlkeras.config.model import HeadConfig
    from tlkeras.config.stage import FitStageConfig, StageConfig


class PretextConfig(Kinds):
    """What is learned from pictures alone; labels of the source, if it has any, are put away.

    Attributes:
        name: `rotation` or `simclr`.
    """

    told_by, default = "name", "rotation"


class RotationConfig(PretextConfig):
    """By how many quarter turns was a picture turned (Gidaris et al. 2018)?"""

    name: Literal["rotation"]


class SimclrConfig(PretextConfig):
    """Which other augmented view shows the same picture (Chen et al. 2020)?

    Attributes:
        temperature: What similarities are divided by in the NT-Xent loss.
        dimensions: Width of the projection in which views are compared.
    """

    name: Literal["simclr"]
    temperature: Annotated[float, Field(gt=0)] = 0.5
    dimensions: Annotated[int, Field(ge=2)] = 128


def check_pretext(
    where: str, data: "DataConfig", head: "HeadConfig", stages: "Iterable[StageConfig]"
) -> None:
    """Raises `ValueError` where head or stages do not suit the pretext task of the data, if it has one.

    Args:
        where: Name of the data's field, for messages.
        data: With or without a pretext task.
        head: Of the pretext task.
        stages: In which it is trained.
    """
    if data.pretext is None:
        return
    name = data.pretext.name
    if name == "simclr" and (head.name != "mlp" or not head.units):
        raise ValueError(
            f"{where}.pretext: simclr compares views behind a projection of two layers: set the head to "
            f"name='mlp', units=[WIDTH]. Received: head={head.name!r}"
        )
    if name == "simclr" and data.batch_size == "auto":
        raise ValueError(
            f"{where}.pretext: simclr's task changes with the batch size: give it as a number. "
            "Received: batch_size=auto"
        )
    for stage in stages:
        if stage.kind == "fit":
            _check_stage(where, name, stage)
        elif name == "simclr":
            raise ValueError(
                f"{where}.pretext: simclr goes without probe. Received: stages.{stage.name}.probe"
            )


def _check_stage(where: str, name: str, stage: "FitStageConfig") -> None:
    augment, of = stage.augment, f"Received: stages.{stage.name}"
    if name == "rotation" and (augment.flip in ("vertical", "both") or augment.rotation >= 45):
        raise ValueError(
            f"{where}.pretext: rotation cannot be told from augment.flip={augment.flip!r}, "
            f"augment.rotation={augment.rotation:g}. Allowed: flip 'none' or 'horizontal', rotation below "
            f"45. {of}"
        )
    if name != "simclr":
        return
    if augment.unmixed.is_identity:
        raise ValueError(
            f"{where}.pretext: simclr compares two augmented views of a picture, and these would be equal: "
            f"set augment, e.g. crop=0.3 and color=0.4. {of}.augment without changes"
        )
    for wrong, given in (
        ("augment.mixup", augment.mixup), ("augment.cutmix", augment.cutmix),
        ("regularizer", stage.regularizer),
    ):  # fmt: skip
        if given:
            raise ValueError(f"{where}.pretext: simclr goes without {wrong}. {of}.{wrong}")

"""Tasks that pictures set by themselves, without labels."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.kinds import Kinds


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

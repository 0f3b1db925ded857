"""Config of pretext tasks, which need no labels."""

from typing import Annotated, Literal

from pydantic import Field

from tlkeras.config.kinds import Kinds


class PretextConfig(Kinds):
    """A task that is learned from pictures without labels. Labels of the data are not used.

    Attributes:
        name: Name of the task: `rotation` or `simclr`.
    """

    told_by, default = "name", "rotation"


class RotationConfig(PretextConfig):
    """The task to predict by how many quarter turns a picture was rotated (Gidaris et al. 2018)."""

    name: Literal["rotation"]


class SimclrConfig(PretextConfig):
    """The task to recognise the other augmented view of the same picture (Chen et al. 2020).

    Attributes:
        temperature: Divisor of the similarities in the NT-Xent loss.
        dimensions: Width of the projection in which views are compared.
    """

    name: Literal["simclr"]
    temperature: Annotated[float, Field(gt=0)] = 0.5
    dimensions: Annotated[int, Field(ge=2)] = 128

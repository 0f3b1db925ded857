"""Config of the columns of a table: numbers and categories."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from tlkeras.config.base import Config
from tlkeras.maybe import MaybeNone


class ColumnConfig(Config):
    """A column of numbers or of categories. A text is its kind.

    A run takes what is None from its training rows, and keeps it in `columns.json`.

    Attributes:
        kind: `number`, `category`, or `auto`: a number if every value of the training rows is one.
        mean: Number that is subtracted from each number.
        deviation: Number by which each number is divided afterwards.
        values: The categories. Every other value is unknown, and gives zeros.
        flag: Whether the network has an input that says that the value is missing. None: if it is missing in
            a training row. A missing number otherwise counts as the mean, and a missing category as unknown.
    """

    kind: Literal["auto", "number", "category"] = "auto"
    mean: float | None = None
    deviation: Annotated[float, Field(gt=0)] | None = None
    values: tuple[str, ...] | MaybeNone = None
    flag: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_a_text(cls, given: Any) -> Any:
        return {"kind": str(given)} if isinstance(given, str) else given


def _by_name(given: Any) -> Any:
    """Returns columns by name, from a mapping, from a list of names, or from names with commas in between."""
    if isinstance(given, str):
        given = [] if given.lower() == "none" else given.split(",")
    listed = isinstance(given, Iterable) and not isinstance(given, Mapping)
    return {str(name).strip(): {} for name in given} if listed else given


Columns = Annotated[dict[str, ColumnConfig], BeforeValidator(_by_name)]

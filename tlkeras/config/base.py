"""What every part of a config shares: frozen values, unknown fields refused, mistakes in one line."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tlkeras.config.mistakes import one_line
from tlkeras.errors import UserError, unknown


class _InOneLine(type(BaseModel)):
    """Makes `StageConfig(epoch=3)` raise one line, where pydantic would raise several.

    Parts that pydantic makes within a larger config do not come here: their errors carry the whole path.
    """

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        if args:
            raise UserError(f"{cls.__name__} takes its fields by name. Received: {args[0]!r} without one")
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise UserError(f"{cls.__name__}: {one_line(error, cls)}") from None


class Config(BaseModel, metaclass=_InOneLine):
    """A frozen value; an unknown field or a wrong type raises `UserError` when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise unknown(f"field of {type(self).__name__}", name, type(self).model_fields)
        raise UserError(
            "A config does not change once it is made; apply_overrides returns a changed one, e.g. "
            f"apply_overrides(config, 'stages.0.epochs=7'). Received: {name}={value!r}"
        )

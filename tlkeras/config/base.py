"""The base class of configs: frozen values that refuse unknown fields and report mistakes in one line."""

import contextlib
import json
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from tlkeras.config.mistakes import one_line, unknown_field
from tlkeras.config.renamed import RENAMED
from tlkeras.errors import UserError, unknown

# The context of a validation that reads the config of a run, possibly of an earlier version.
KEPT = {"kept": True}


class Override(str):
    """The text of an override. The type of its field determines the value."""


class _InOneLine(type(BaseModel)):
    """Makes `StageConfig(epoch=3)` raise an error of one line instead of pydantic's several lines.

    Parts that pydantic makes within a larger config do not use this. Their errors contain the whole path.
    """

    def __call__(cls, *args: Any, **fields: Any) -> Any:
        if args:
            raise UserError(f"{cls.__name__} takes its fields by name. Received: {args[0]!r} without one")
        try:
            return super().__call__(**fields)
        except ValidationError as error:
            raise UserError(f"{cls.__name__}: {one_line(error, fields)}") from None


class Config(BaseModel, metaclass=_InOneLine):
    """A frozen value. Unknown fields and wrong types raise `UserError` when it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in type(self).model_fields:
            raise unknown(f"field of {type(self).__name__}", name, type(self).model_fields)
        raise UserError(
            "A config cannot be changed. apply_overrides returns a changed copy, e.g. "
            f"apply_overrides(config, 'stages.0.epochs=7'). Received: {name}={value!r}"
        )

    @model_validator(mode="before")
    @classmethod
    def _fields_are_known(cls, given: Any, info: ValidationInfo) -> Any:
        """Returns the given fields by their current names, with overrides converted to values."""
        if not isinstance(given, Mapping):
            return given
        kept, fields = bool(info.context and info.context.get("kept")), {}
        for name, value in given.items():
            if name in cls.model_fields:
                fields[name] = meant(value, cls.model_fields[name].annotation)
            elif kept and (renamed := RENAMED.get((cls.__name__, name))):
                fields[renamed] = value
            elif not cls.goes_without(name, value, kept):
                raise unknown_field(cls.__name__, name, cls.model_fields, cls.hint(name, given))
        return fields

    @classmethod
    def goes_without(cls, name: str, value: Any, kept: bool) -> bool:
        """Whether a field that this part does not have may be ignored; see `Kinds`."""
        return False

    @classmethod
    def hint(cls, name: str, given: Mapping[str, Any]) -> str:
        """Returns a hint about a field that this part does not have, in addition to the nearest name."""
        renamed = RENAMED.get((cls.__name__, name))
        return f"It is called {renamed!r} now." if renamed else ""


class Named(Config):
    """An entry of a registry with options. A text is an entry without options.

    Attributes:
        name: Registered name.
        options: Keyword arguments of the entry.
    """

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _of_a_text(cls, given: Any) -> Any:
        if isinstance(given, str) and not isinstance(given, Override):
            return {"name": given}
        return given


def meant(value: Any, annotation: Any) -> Any:
    """Replaces each `Override` in a value by its meaning in a field of this type.

    Texts that do not fit remain and fail in the validation.
    """
    found = options(annotation)
    if isinstance(value, Override):
        return _parsed(value, found)
    if isinstance(value, dict) and not any(isinstance(o, type) and issubclass(o, BaseModel) for o in found):
        item = next((get_args(o)[1] for o in found if get_origin(o) is dict), Any)
        return {name: meant(entry, item) for name, entry in value.items()}
    if isinstance(value, list):
        item = next((get_args(o)[0] for o in found if get_origin(o) is tuple), Any)
        return [meant(entry, item) for entry in value]
    return value


def _parsed(text: Override, found: list[Any]) -> Any:
    if text.lower() == "none" and type(None) in found:
        return None
    with contextlib.suppress(ValueError):
        return json.loads(text) if Any in found else str(text)
    return str(text)


def options(annotation: Any) -> list[Any]:
    """Returns the members of a union without `Annotated`. Another type is its only member."""
    if hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in options(member)]
    return [annotation]

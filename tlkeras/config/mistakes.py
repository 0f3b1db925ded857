"""What is wrong with a config, in one line, by the fields that its classes declare."""

import types
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tlkeras.errors import UserError, nearest, unknown


def one_line(error: ValidationError, root: type[BaseModel]) -> str:
    """Returns the first mistake that pydantic found, with all that is allowed there, as a single line.

    Args:
        error: What pydantic raised.
        root: The class that was to be made.
    """
    errors = error.errors()
    # a field that is not known tells why another one is missing
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path = _dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        allowed = _fields_beside(first["loc"], root)
        hint = nearest(str(first["loc"][-1]), allowed)
        return f"Unknown config field {path!r}.{hint} Allowed: {', '.join(allowed)}."
    # a field of several types fails once for each of them: all of them are what is allowed
    same = [e for e in errors if _dotted(e["loc"]).startswith(path)]
    messages = dict.fromkeys(e["msg"].removeprefix("Value error, ") for e in same)
    message = ", or ".join(messages)
    prefix = f"{path}: " if path else ""
    if "Received" in message:
        return prefix + message
    expected = [e["ctx"]["expected"] for e in same if e["type"] == "literal_error"]
    hint = nearest(str(first["input"]), _quoted(expected[0])) if expected else ""
    received = repr(first["input"])
    received = received if len(received) <= 120 else received[:117] + "..."
    return f"{prefix}{message}.{hint} Received: {received}"


def child_type(annotation: Any, key: str, path: str) -> Any:
    """Returns the declared type of the child `key` of a value declared as `annotation`."""
    for option in options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if key not in option.model_fields:
                raise unknown(f"config field in {path!r}:", key, option.model_fields)
            return option.model_fields[key].annotation
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) in (tuple, list):
            return get_args(option)[0]
    if Any in options(annotation):
        return Any
    raise UserError(f"{path}: there is no field {key!r} below a plain value.")


def options(annotation: Any) -> list[Any]:
    """Returns the members of a union (one member for anything else), without `Annotated`."""
    if hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in options(member)]
    return [annotation]


def _dotted(location: tuple) -> str:
    return ".".join(str(part) for part in location if not _is_union_tag(part))


def _quoted(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").replace("'", "").split(", ")


def _is_union_tag(part: Any) -> bool:
    """Whether a part of an error's location names a member of a union rather than a field."""
    return (isinstance(part, str) and any(mark in part for mark in "[]()-")) or part in ("int", "str")


def _fields_beside(location: tuple, root: type[BaseModel]) -> list[str]:
    """Returns the fields that the parent of `location`, a path from a `root`, has."""
    annotation: Any = root
    for part in location[:-1]:
        if not _is_union_tag(part):
            annotation = child_type(annotation, str(part), ".".join(map(str, location)))
    models = [o for o in options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)]
    return [name for model in models for name in model.model_fields]

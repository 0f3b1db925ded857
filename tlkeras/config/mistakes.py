"""The messages about mistakes in a config, each in one line."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticCustomError

from tlkeras.errors import nearest


def unknown_field(of: str, name: str, allowed: Iterable[str], hint: str = "") -> PydanticCustomError:
    """Returns the error that a validator raises for a field that its class does not have.

    Args:
        of: Name of the class.
        name: Name of the field.
        allowed: Names of the fields of the class.
        hint: Hint about the field. If it is empty, the nearest name is used.
    """
    told = {"of": of, "name": str(name), "allowed": ", ".join(allowed), "hint": hint}
    return PydanticCustomError("unknown_field", "{of} has no field {name}", told)


def one_line(error: ValidationError, given: Any) -> str:
    """Returns the first mistake that pydantic found, with all allowed values, as a single line.

    Args:
        error: Error that pydantic raised.
        given: Tree that was validated.
    """
    errors = error.errors()
    # an unknown field comes first, because it is often the reason why another field is missing
    first = next((e for e in errors if e["type"] == "unknown_field"), errors[0])
    path = _dotted(first, given)
    if first["type"] == "unknown_field":
        told = first.get("ctx", {})
        name, allowed = told["name"], told["allowed"]
        hint = f" {told['hint']}" if told["hint"] else nearest(name, allowed.split(", "))
        field = f"{path + '.' + name!r}: there is no {name!r}" if path else repr(name)
        return f"Unknown config field {field}.{hint} Allowed: {allowed}."
    # a field with several types fails once for each type, and all of them are allowed
    same = [e for e in errors if _dotted(e, given).startswith(path)]
    messages = dict.fromkeys(e["msg"].removeprefix("Value error, ") for e in same)
    message = ", or ".join(messages)
    prefix = f"{path}: " if path else ""
    if "Received" in message:
        return prefix + message
    expected = [e.get("ctx", {})["expected"] for e in same if e["type"] == "literal_error"]
    hint = nearest(str(first["input"]), _quoted(expected[0])) if expected else ""
    received = repr(first["input"])
    received = received if len(received) <= 120 else received[:117] + "..."
    return f"{prefix}{message}.{hint} Received: {received}"


def _quoted(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").replace("'", "").split(", ")


def _dotted(error: Mapping[str, Any], given: Any) -> str:
    """Returns the path of an error without the parts that name a member of a union."""
    *parents, last = error["loc"] or ("",)
    found, node = [], given
    for part in [*parents, *([] if error["type"] == "missing" else [last])]:
        inside = _child(node, part)
        if inside is not None:
            found.append(str(part))
            node = inside[0]
    return ".".join([*found, *([str(last)] if error["type"] == "missing" else [])])


def _child(node: Any, part: Any) -> tuple[Any] | None:
    """Returns a tuple with the child of the name `part`, or None if there is none."""
    if isinstance(node, Mapping):
        return (node[part],) if part in node else None
    if isinstance(node, list | tuple):
        return (node[part],) if isinstance(part, int) and part < len(node) else None
    return None

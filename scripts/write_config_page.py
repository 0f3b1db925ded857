"""Writes docs/config.md, the reference of all config fields, from the classes of tlkeras.config.

python scripts/write_config_page.py
"""

import re
import sys
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder: it has an inspect.py

import annotated_types

from tlkeras.config import ExperimentConfig
from tlkeras.config.base import Config
from tlkeras.config.kinds import Kinds

_HEAD = """# The config

`--config` takes the name of a [shipped experiment](experiments.md), a `.py` file with `get_config()`, or the
`config.json` of an earlier run. A `.py` config is code that will be executed, so use only files from people
you trust. A `.json` config is only data.

| part | what it sets | where to read on |
|---|---|---|
| `data` | source, splits, sizes, limits, what happens to broken files | [your own data](your_own_data.md) |
| `model` | backbone, weights, neck, head | `tlkeras list backbones`, `tlkeras list heads` |
| `stages` | what is trained and for how long, optimizer, schedule, augmentation | `tlkeras plan` |
| `adaptation` | target domain, method, model selection without target labels | [adaptation](adaptation.md) |
| `cache`, `runtime`, `checkpoint` | where features are stored, the devices, when state is saved | below |

`train` of a stage is one of `head`, `last:N`, `from:BLOCK`, `all`, `regex:PATTERN`. A block is one residual,
dense, inception or convolution unit. `tlkeras list backbones` shows the block names.

The rest of this page lists every field. `scripts/write_config_page.py` writes it from the docstrings.
`--set path=value` sets a field on the command line, for example
`--set stages.0.optimizer.learning_rate=1e-4`. `N` is the number of a stage, from 0, or its name. The fields
have the same names in the classes of `tlkeras.config`.
"""


def page() -> str:
    """Returns the text of the page."""
    parts: dict[type[Config], str] = {}
    _collect(ExperimentConfig, "", parts)
    return "\n".join([_HEAD, *(_section(kind, path) for kind, path in parts.items())])


def _collect(kind: type[Config], path: str, parts: dict[type[Config], str]) -> None:
    """Adds a class and the classes of its fields, each under the first path at which it is found."""
    kinds = dict.fromkeys(kind.kinds.values()) if issubclass(kind, Kinds) and kind.is_part() else [kind]
    for one in kinds:
        if one in parts:
            continue
        parts[one] = path
        for name, field in one.model_fields.items():
            many = get_origin(field.annotation) is tuple
            for inner in _configs(field.annotation):
                _collect(inner, f"{path}.{name}{'.N' * many}".lstrip("."), parts)


def _configs(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _configs(inner)]


def _section(kind: type[Config], path: str) -> str:
    summary, meanings = _described(kind)
    rows = [
        f"| `{name}` | {_type(field.annotation, field.metadata)} | {_default(field)} | {meanings[name]} |"
        for name, field in kind.model_fields.items()
    ]
    title = f"## `{path}`: {kind.__name__}" if path else "## The experiment"
    return "\n".join(
        [title, "", summary, "", "| field | values | default | meaning |", "|---|---|---|---|", *rows, ""]
    )


def _described(kind: type[Config]) -> tuple[str, dict[str, str]]:
    """Returns the summary of a class and the meanings of its fields, also of those that it inherits."""
    meanings = {}
    for one in reversed(kind.__mro__):
        if issubclass(one, Config):
            attributes = (one.__doc__ or "").partition("Attributes:")[2]
            for name, text in re.findall(
                r"^ {8}(\w+): (.*?)(?=^ {8}\w+: |^ {4}\S|\Z)", attributes, re.M | re.S
            ):
                meanings[name] = _cell(text)
    summary = (kind.__doc__ or "").partition("Attributes:")[0].partition("Example:")[0]
    return "\n".join(line.strip() for line in summary.strip().splitlines()), meanings


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _type(annotation: Any, limits: Any = ()) -> str:
    """Returns the allowed values in words."""
    limits = list(limits)
    while hasattr(annotation, "__metadata__"):
        limits += annotation.__metadata__
        annotation = annotation.__origin__
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(one, limits if one in (int, float) else ()) for one in inner)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        many = len(inner) == 2 and inner[1] is Ellipsis
        return f"list of {_type(inner[0])}" if many else "(" + ", ".join(map(_type, inner)) + ")"
    if origin is dict:
        return f"mapping from {_type(inner[0])} to {_type(inner[1])}"
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation.__name__
    names = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true or false",
        type(None): "none",
        Any: "any",
    }
    return names[annotation] + _range(limits)


def _range(limits: list[Any]) -> str:
    found = []
    for limit in limits:
        for one in getattr(limit, "metadata", [limit]):
            found += [f"{sign} {getattr(one, name)}" for name, sign in _SIGNS.items() if hasattr(one, name)]
            if isinstance(one, annotated_types.MinLen):
                found.append(f"of at least {one.min_length}")
    return f" {', '.join(dict.fromkeys(found))}" if found else ""


_SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def _default(field) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if isinstance(value, Config):
        return ""
    if isinstance(value, tuple) and any(isinstance(one, Config) for one in value):
        return "see `tlkeras/config`"
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value in ("", (), {}):
        return "empty"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


if __name__ == "__main__":
    (ROOT / "docs/config.md").write_text(page(), "utf-8")

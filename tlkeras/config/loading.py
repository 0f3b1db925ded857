"""Read a config from a file or by name, apply overrides, and say in one line what is wrong with it."""

import json
import runpy
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from tlkeras.config.base import Config
from tlkeras.config.experiment import ExperimentConfig
from tlkeras.errors import UserError, nearest, unknown


def load_config(config: str, overrides: Iterable[str] = ()) -> ExperimentConfig:
    """Returns the experiment that `config` names, with `overrides` applied.

    Args:
        config: Path of a `.py` file with `get_config()`, path of a `.json` file as a run writes it,
            or the name of a shipped experiment.
        overrides: Assignments such as `"stages.1.epochs=7"`.

    Raises:
        UserError: In one line: the field, what was received, what is allowed, the nearest name.
    """
    path = Path(config)
    if path.suffix == ".py":
        loaded = _from_python(path)
    elif path.suffix == ".json":
        loaded = _from_json(path)
    else:
        loaded = _from_python(_shipped(config))
    return apply_overrides(loaded, overrides)


def apply_overrides(config: ExperimentConfig, overrides: Iterable[str]) -> ExperimentConfig:
    """Returns `config` with assignments `path=value` applied in order, typed by the schema."""
    tree = config.model_dump(mode="json")
    for assignment in overrides:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise UserError(
                f"An override has the form path=value, e.g. stages.0.epochs=7. Received: {assignment!r}"
            )
        _assign(tree, path.strip(), text.strip())
    return validated(tree)


def validated(tree: dict[str, Any]) -> ExperimentConfig:
    """Returns the config that a plain `tree` (as read from JSON) describes, or raises `UserError`."""
    try:
        return ExperimentConfig.model_validate(tree)
    except ValidationError as error:
        raise UserError(_one_line(error)) from error


def dump_config(config: ExperimentConfig) -> str:
    """Returns the config as JSON text that `load_config` reads back to an equal value."""
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def shipped_experiments() -> dict[str, Path]:
    """Returns the files of the shipped experiments by name."""
    package = Path(__file__).parent.parent
    folders = (package / "experiments", package.parent / "experiments")  # installed, or a checkout
    folder = next(folder for folder in folders if folder.is_dir())
    return {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}


def config_function(path: Path, name: str) -> Callable | None:
    """Returns the function called `name` of the Python file `path`; None where it defines none."""
    if not path.is_file():
        raise UserError(f"No config file. Received: --config={path}")
    try:
        return runpy.run_path(str(path)).get(name)
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error)}") from error
    except UserError:
        raise
    except Exception as error:  # the file is the user's own code: whatever it raises is one line
        raise UserError(f"{path} cannot be run: {type(error).__name__}: {error}") from error


def _shipped(name: str) -> Path:
    experiments = shipped_experiments()
    if name not in experiments:
        raise UserError(
            f"No experiment or file called {name!r}.{nearest(name, experiments)} "
            f"Allowed: a .py or .json file, or one of {', '.join(experiments)}."
        )
    return experiments[name]


def _from_python(path: Path) -> ExperimentConfig:
    get_config = config_function(path, "get_config")
    if get_config is None:
        raise UserError(f"{path} defines no get_config() that returns an ExperimentConfig.")
    try:
        config = get_config()
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error)}") from error
    if not isinstance(config, ExperimentConfig):
        raise UserError(
            f"get_config() must return an ExperimentConfig. Received: {type(config).__name__} from {path}"
        )
    return config


def _from_json(path: Path) -> ExperimentConfig:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"Cannot read the config {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UserError(f"The config {path} is not valid JSON: {error}.") from error
    return validated(tree)


def _assign(tree: Any, path: str, text: str) -> None:
    """Puts the value that `text` stands for into `tree` at the dotted `path`."""
    *parents, last = path.split(".")
    node, annotation = tree, ExperimentConfig
    for depth, key in enumerate(parents):
        annotation = _child_type(annotation, key, path)
        key = _index(node, key, ".".join(parents[:depth]), path)
        if isinstance(node, dict) and node.get(key) is None:
            node[key] = {}
        node = node[key]
    annotation = _child_type(annotation, last, path)
    node[_index(node, last, ".".join(parents), path)] = _parse(text, annotation)


def _index(node: Any, key: str, parent: str, path: str) -> str | int:
    """Returns `key` as a list index where `node` is a list; an entry may be called by its `name`."""
    if not isinstance(node, list):
        return key
    if key.isdigit() and int(key) < len(node):
        return int(key)
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in node]
    if key in names:
        return names.index(key)
    called = f", called {', '.join(names)}" if names and all(names) else ""
    raise UserError(
        f"{path}: {parent} holds {len(node)} entries, 0 to {len(node) - 1}{called}. Received: {key}"
    )


def _child_type(annotation: Any, key: str, path: str) -> Any:
    """Returns the declared type of the child `key` of a value declared as `annotation`."""
    for option in _options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            if key not in option.model_fields:
                raise unknown(f"config field in {path!r}:", key, option.model_fields)
            return option.model_fields[key].annotation
        if get_origin(option) is dict:
            return get_args(option)[1]
        if get_origin(option) in (tuple, list):
            return get_args(option)[0]
    if Any in _options(annotation):
        return Any
    raise UserError(f"{path}: there is no field {key!r} below a plain value.")


def _options(annotation: Any) -> list[Any]:
    """Returns the members of a union (one member for anything else), without `Annotated`."""
    if hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _options(member)]
    return [annotation]


def _parse(text: str, annotation: Any) -> Any:
    """Returns the value of `text` for a field of this type; what does not fit is left to validation."""
    options = _options(annotation)
    if text.lower() == "none" and type(None) in options:
        return None
    structured = any(
        get_origin(option) in (dict, tuple, list)
        or (isinstance(option, type) and issubclass(option, BaseModel))
        or option is Any
        for option in options
    )
    if structured:
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


def _one_line(error: ValidationError) -> str:
    """Returns the first mistake that pydantic found, with all that is allowed there, as a single line."""
    errors = error.errors()
    first = errors[0]
    path = _dotted(first["loc"])
    if first["type"] == "extra_forbidden":
        # a .py config makes its parts one by one, so the mistake may lie in a part that stands alone
        root = next((c for c in Config.__subclasses__() if c.__name__ == error.title), ExperimentConfig)
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


def _dotted(location: tuple) -> str:
    return ".".join(str(part) for part in location if not _is_union_tag(part))


def _quoted(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").replace("'", "").split(", ")


def _is_union_tag(part: Any) -> bool:
    """Whether a part of an error's location names a member of a union rather than a field."""
    return (isinstance(part, str) and any(mark in part for mark in "[]()-")) or part in ("int", "str")


def _fields_beside(location: tuple, root: type[Config]) -> list[str]:
    """Returns the fields that the parent of `location`, a path from a `root`, has."""
    annotation: Any = root
    for part in location[:-1]:
        if not _is_union_tag(part):
            annotation = _child_type(annotation, str(part), ".".join(map(str, location)))
    models = [o for o in _options(annotation) if isinstance(o, type) and issubclass(o, BaseModel)]
    return [name for model in models for name in model.model_fields]

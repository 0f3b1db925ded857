"""Functions to read a config from a file or by name, to apply overrides and to write it."""

import json
import os
import runpy
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tlkeras.config.base import KEPT, Config, Override
from tlkeras.config.experiment import ExperimentConfig
from tlkeras.config.kinds import Kinds
from tlkeras.config.mistakes import one_line
from tlkeras.errors import UserError, nearest


def load_config(
    config: str | os.PathLike | Mapping[str, Any] | ExperimentConfig, overrides: str | Iterable[str] = ()
) -> ExperimentConfig:
    """Returns the experiment that `config` names or contains, with `overrides` applied.

    Args:
        config: Path of a `.py` file with `get_config()`, path of a `config.json` of a run, name of a shipped
            experiment, dict with the content of a `config.json`, or a config.
        overrides: Assignments such as `"stages.1.epochs=7"`, or a single one.

    Returns:
        Checked config with all defaults filled in. It cannot be changed.

    Raises:
        UserError: The config is not valid. The message has the field, the received value, the allowed values
            and the nearest name.
    """
    if isinstance(config, ExperimentConfig):
        return apply_overrides(config, overrides)
    if isinstance(config, Mapping):
        return apply_overrides(read_config(dict(config)), overrides)
    if not isinstance(config, str | os.PathLike):
        raise UserError(
            "An experiment is an ExperimentConfig, the name of a shipped one, the path of a .py or .json "
            f"file, or a dict. Received: {type(config).__name__}"
        )
    path = Path(config)
    if path.suffix == ".py":
        loaded = _from_python(path)
    elif path.suffix == ".json":
        loaded = _from_json(path)
    else:
        loaded = _from_python(_shipped(str(config)))
    return apply_overrides(loaded, overrides)


def apply_overrides(config: ExperimentConfig, overrides: str | Iterable[str]) -> ExperimentConfig:
    """Returns `config` with assignments `path=value` applied in order, typed by the schema.

    Args:
        config: Config to change.
        overrides: Assignments `path=value`: one text, or several.

    Returns:
        New config. The given one is unchanged.

    Raises:
        UserError: A path does not exist, or a value does not fit its field.
    """
    before, tree = config.model_dump(mode="json"), config.model_dump(mode="json")
    for assignment in assignments(overrides):
        path, _, text = assignment.partition("=")
        _assign(tree, path.strip(), text.strip())
    _leave_behind(config, before, tree)
    return _validated(tree)


def assignments(overrides: str | Iterable[str] | None) -> list[str]:
    """Returns overrides as a list of texts `path=value`.

    Args:
        overrides: Assignments `path=value`: one text, or several. None means that there are none.

    Raises:
        UserError: An override does not have this form.
    """
    if isinstance(overrides, Mapping) or not isinstance(overrides, Iterable | None):
        shown = dict(overrides) if isinstance(overrides, Mapping) else overrides
        raise UserError(
            f'Overrides are texts of the form path=value, e.g. ["stages.0.epochs=7"]. Received: {shown!r}'
        )
    listed = [overrides] if isinstance(overrides, str) else list(overrides or ())
    for one in listed:
        if not isinstance(one, str) or not one.partition("=")[0].strip() or "=" not in one:
            raise UserError(f"An override has the form path=value, e.g. stages.0.epochs=7. Received: {one!r}")
    return listed


_SINCE_0_1 = {"metrics", "tracking", "judged_by", "export"}


def read_config(tree: dict[str, Any]) -> ExperimentConfig:
    """Returns the config of a plain `tree` that was read from JSON, or raises `UserError`.

    A run writes every part, also those with default values. If all parts that version 0.1 had are present,
    the config is from a run, and old names of fields from earlier versions are accepted.
    """
    written = isinstance(tree, dict) and tree.keys() >= ExperimentConfig.model_fields.keys() - _SINCE_0_1
    return _validated(tree, KEPT if written else None)


def as_of_today(tree: dict[str, Any]) -> dict[str, Any]:
    """Converts the config of a run, possibly of an earlier version, to the JSON values of this version.

    A tree that is not a config is returned unchanged.
    """
    try:
        return read_config(tree).model_dump(mode="json")
    except UserError:
        return tree


def dump_config(config: ExperimentConfig) -> str:
    """Returns the config as JSON text. `load_config` converts it back to an equal config.

    Args:
        config: Config to write.
    """
    return json.dumps(config.model_dump(mode="json"), indent=2) + "\n"


def shipped_experiments() -> dict[str, Path]:
    """Returns the files of the shipped experiments by name."""
    folder = Path(__file__).parent.parent / "experiments"
    return {file.stem: file for file in sorted(folder.glob("[!_]*.py"))}


def config_function(path: Path, name: str) -> Callable | None:
    """Returns the function `name` of the Python file `path`, or None if it does not define one."""
    if not path.is_file():
        raise UserError(f"No config file. Received: --config={path}")
    try:
        return runpy.run_path(str(path)).get(name)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:  # the file is code of the user and can raise any error
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
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
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
    return read_config(tree)


def _validated(tree: dict[str, Any], context: dict[str, Any] | None = None) -> ExperimentConfig:
    try:
        return ExperimentConfig.model_validate(tree, context=context)
    except ValidationError as error:
        raise UserError(one_line(error, tree)) from error


def _assign(tree: dict[str, Any], path: str, text: str) -> None:
    """Puts the `text` of an override into `tree` at the dotted `path`. Validation converts it."""
    *parents, last = path.split(".")
    node: Any = tree
    for depth, key in enumerate(parents):
        key = _key(node, key, ".".join(parents[:depth]), path)
        child = node.get(key) if isinstance(node, dict) else node[key]
        node[key] = {} if child is None else child
        node = node[key]
    node[_key(node, last, ".".join(parents), path)] = _value(text)


def _value(text: str) -> Any:
    """Returns a list or an object that is written in JSON, else a text that the field's type converts."""
    try:
        value = json.loads(text)
    except ValueError:
        return Override(text)
    return value if isinstance(value, dict | list) else Override(text)


def _key(node: Any, key: str, parent: str, path: str) -> str | int:
    """Returns `key`, as a list index if `node` is a list. An entry of a list may be given by its `name`."""
    if isinstance(node, dict):
        return key
    if not isinstance(node, list):
        raise UserError(f"{path}: there is no field {key!r} below a plain value.")
    if key.isdigit() and int(key) < len(node):
        return int(key)
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in node]
    if key in names:
        return names.index(key)
    called = f", called {', '.join(map(str, names))}" if names and all(names) else ""
    raise UserError(
        f"{path}: {parent} holds {len(node)} entries, 0 to {len(node) - 1}{called}. Received: {key}"
    )


def _leave_behind(part: Any, before: Any, tree: Any) -> None:
    """Removes unchanged fields from a part if overrides have changed its kind.

    Args:
        part: Part of the config before the overrides.
        before: Tree of the part before the overrides.
        tree: Tree of the part with the overrides.
    """
    if isinstance(part, tuple) and isinstance(tree, list):
        for entry in zip(part, before, tree, strict=False):
            _leave_behind(*entry)
    if not (isinstance(part, Config) and isinstance(tree, dict)):
        return
    if isinstance(part, Kinds):
        untouched = {name for name in tree.keys() & before.keys() if tree[name] == before[name]}
        if part.told_by == "kind" and "kind" in untouched:  # the other fields then determine the kind
            del tree["kind"]
        for name in untouched - part.kind_for(tree).model_fields.keys():
            tree.pop(name, None)
    for name in type(part).model_fields:
        _leave_behind(getattr(part, name), before[name], tree.get(name))

"""Hints for arguments and flags that a command does not know."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args, get_origin

from absl import flags as absl_flags
from pydantic import BaseModel

from tlkeras.config import ExperimentConfig, shipped_experiments
from tlkeras.config.base import options
from tlkeras.errors import CannotWriteHere, nearest

# names of config fields in other programs
_OTHER_NAMES = {
    "lr": "learning_rate",
    "learning": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "random_seed": "seed",
    "img_size": "image_size",
    "size": "image_size",
    "arch": "backbone",
    "dataset": "source",
    "num_gpus": "devices",
    "gpus": "devices",
}
# names of a whole part of the config, or of several fields
_PARTS = {
    "model": "model.backbone",
    "data": "data.source",
    "optimizer": "stages.0.optimizer.name",
    "scheduler": "stages.0.optimizer.schedule.name",
    "schedule": "stages.0.optimizer.schedule.name",
    "head": "model.head.name",
    "target": "adaptation.target.source",
    "dropout": "model.neck.dropout",
    "weights": "model.weights",
    "pretrained": "model.weights",
}


def flag_mistake(error: absl_flags.Error, flags: absl_flags.FlagValues, words: Sequence[str]) -> str:
    """Returns what is wrong with a flag: its name, which may be that of a config field, or its value.

    Args:
        error: Error of the flag parser.
        flags: Flags of the command.
        words: Arguments that were parsed.
    """
    if isinstance(error, absl_flags.UnrecognizedFlagError):
        return f"Unknown flag --{error.flagname}.{_flag_hint(error.flagname, flags, words)}"
    name, equals, value = str(error).partition(": ")[0].removeprefix("flag --").partition("=")
    if not (isinstance(error, absl_flags.IllegalFlagValueError) and equals and name in flags):
        return str(error)
    parser = flags[name].parser
    allowed = parser.syntactic_help or ", ".join(getattr(parser, "enum_values", ["true or false"]))
    return f"--{name} takes {allowed}. Received: --{name}={value}"


def _flag_hint(name: str, flags: absl_flags.FlagValues, words: Sequence[str]) -> str:
    """Returns which flag or config field was probably meant, and which flags there are."""
    near = difflib.get_close_matches(name.replace("-", "_"), list(flags), n=1, cutoff=0.7)
    meant = [f"--{near[0]}"] if near else []
    field = field_path(name) if "set" in flags and "config" in flags else None
    if field is not None and (not near or field.rpartition(".")[2] == name):
        meant.append(f"--set {field}={_value(name, words)}")
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    return f"{hint} Allowed: {', '.join(f'--{flag}' for flag in flags)}."


def place_hint(error: BaseException, flags: absl_flags.FlagValues) -> str:
    """Returns which flag sets another output place, for an error about a place that cannot be written."""
    if not isinstance(error, CannotWriteHere):
        return ""
    flag = next((name for name in ("workdir", "output", "dir") if name in flags), None)
    return f". --{flag} sets another place." if flag else ". Work with a copy of the run in another place."


def word_hint(word: str, flags: Iterable[str]) -> str:
    """Returns a hint for an argument without a flag, which was probably meant for `--config` or `--set`."""
    flags = list(flags)
    if "config" not in flags:
        return ""
    if "=" in word:
        return f" Did you mean --set {word}?" if "set" in flags else ""
    if ":" in word:
        return f" Did you mean --set data.source={word}?" if "set" in flags else ""
    if Path(word).suffix in (".py", ".json"):
        return f" Did you mean --config={word}?"
    source = "folder" if Path(word).is_dir() else Path(word).suffix.removeprefix(".")
    if source in ("folder", "csv", "npz") and "set" in flags:
        return f" Did you mean --set data.source={source}:{word}?"
    return nearest(word, shipped_experiments()).replace("'", "").replace("mean ", "mean --config=")


def field_path(name: str) -> str | None:
    """Returns the dotted path of the least nested config field called `name`, or None."""
    if "." in name:
        return name
    name = name.replace("-", "_").lower()
    name = _OTHER_NAMES.get(name, name)
    if name in _PARTS:
        return _PARTS[name]
    paths = {path.rpartition(".")[2]: path for path in reversed(list(_paths(ExperimentConfig)))}
    found = difflib.get_close_matches(name, paths, n=1, cutoff=0.85)
    return paths[found[0]] if found else None


def _paths(root: type[BaseModel]) -> Iterator[str]:
    """Yields the paths of all plain fields, the least nested first. Stage 0 stands for all stages."""
    level: list[tuple[str, type[BaseModel]]] = [("", root)]
    while level:
        deeper = []
        for prefix, model in level:
            for name, field in model.model_fields.items():
                below = [(f"{prefix}{name}{index}.", part) for index, part in _parts(field.annotation)]
                deeper += [entry for entry in below if entry[0].count(".") < 5]
                if not below:
                    yield prefix + name
        level = deeper


def _parts(annotation: object) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yields the config classes that a field holds, with index `.0` if the field holds several configs."""
    for option in options(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            yield from (("", kind) for kind in getattr(option, "kinds", {"": option}).values())
        elif get_origin(option) is tuple:
            yield from ((".0", part) for _, part in _parts(get_args(option)[0]))


def _value(name: str, words: Sequence[str]) -> str:
    """Returns the value that was given to an unknown flag: `--name=value` or `--name value`."""
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        flag, equals, value = word.lstrip("-").partition("=")
        if word.startswith("-") and flag == name:
            return value if equals else "..." if after.startswith("-") else after
    return "..."

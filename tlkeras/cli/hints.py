"""What was probably meant by a word or a flag that a command does not take."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args, get_origin

from absl import flags as absl_flags
from pydantic import BaseModel

from tlkeras.errors import CannotWriteHere, nearest

# what other programs call a field of the config
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
    "pretrained": "weights",
    "dataset": "source",
    "num_gpus": "devices",
    "gpus": "devices",
}
# what names a whole part of the config, or several fields
_PARTS = {
    "model": "model.backbone",
    "data": "data.source",
    "optimizer": "stages.0.optimizer.name",
    "scheduler": "stages.0.optimizer.schedule.name",
    "schedule": "stages.0.optimizer.schedule.name",
    "head": "model.head.name",
    "target": "adaptation.target.source",
    "dropout": "model.neck.dropout",
}


def flag_hint(error: absl_flags.Error, flags: absl_flags.FlagValues, words: Sequence[str]) -> str:
    """Returns `". Did you mean --set ...?"` for an unknown flag that is called like a field of the config.

    Args:
        error: What parsing raised.
        flags: The flags of the command.
        words: What was parsed.
    """
    if not isinstance(error, absl_flags.UnrecognizedFlagError) or "set" not in flags or "config" not in flags:
        return ""
    field = field_path(error.flagname)
    others = "Did you mean" in str(error)  # flags that are spelled alike
    if field is None or (others and field.rpartition(".")[2] != error.flagname):
        return ""
    meant = f"--set {field}={_value(error.flagname, words)}?"
    return f" Or {meant}" if others else f". Did you mean {meant}"


def place_hint(error: BaseException, flags: absl_flags.FlagValues) -> str:
    """Returns which of the command's flags names another place to write to, where an error asks for one."""
    if not isinstance(error, CannotWriteHere):
        return ""
    flag = next((name for name in ("workdir", "output", "dir") if name in flags), None)
    return f". --{flag} names another place." if flag else ". Work with a copy of the run elsewhere."


def word_hint(word: str, flags: Iterable[str]) -> str:
    """Returns what a word that stands alone was probably meant for: `--config` or `--set`."""
    from tlkeras.config import shipped_experiments

    flags = list(flags)
    if "config" not in flags:
        return ""
    if "=" in word:
        return f" Did you mean --set {word}?" if "set" in flags else ""
    if ":" in word:
        return f" Did you mean --set data.source={word}?" if "set" in flags else ""
    if Path(word).suffix in (".py", ".json"):
        return f" Did you mean --config={word}?"
    return nearest(word, shipped_experiments()).replace("'", "").replace("mean ", "mean --config=")


def field_path(name: str) -> str | None:
    """Returns the dotted path of the config's field called `name`, the least deep, or None."""
    from tlkeras.config import ExperimentConfig

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
    """Yields the paths of all plain fields, those of the first stage for all stages, the least deep first."""
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
    """Yields the configs that a field holds, with `.0` for the first of several."""
    from tlkeras.config.base import options

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

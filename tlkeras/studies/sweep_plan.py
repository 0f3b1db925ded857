"""The list of runs of a sweep, made before any of them starts."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlkeras.config import ExperimentConfig, apply_overrides, load_config, shipped_experiments
from tlkeras.config.loading import config_function
from tlkeras.errors import UserError


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep.

    Attributes:
        name: Name of the run, and of its directory in the directory of the sweep.
        overrides: Assignments `path=value` that change the sweep's config.
        seed: Seed of the run.
        config: Resulting config.
    """

    name: str
    overrides: tuple[str, ...]
    seed: int
    config: ExperimentConfig

    @property
    def settings(self) -> dict[str, str]:
        """The overrides as a dict from path to value."""
        return {path.strip(): value.strip() for path, _, value in (o.partition("=") for o in self.overrides)}


def plan_sweep(config: str, overrides: Iterable[str] = (), seeds: int = 1) -> list[SweepRun]:
    """Returns the runs of a sweep, with all configs checked.

    Args:
        config: Path of a `.py` file, which may define `sweep()`, path of a `.json` file, or name of an
            experiment. `sweep()` yields one item per run: a dict `{"model.head.name": "cosine"}` or a list
            of assignments `["model.head.name=cosine"]`.
        overrides: Assignments for all runs. Those of `sweep()` take precedence.
        seeds: Number of seeds for each item: the seed of the config and the following ones.

    Raises:
        UserError: An item is wrong. The message names it in one line.
    """
    base = load_config(config, overrides)
    items = list(_items(config))
    if len(items) * seeds < 2:
        raise UserError(
            f"A sweep needs two runs or more: define sweep() in the config file, or give --seeds. "
            f"Received: {config} with {len(items)} item{'s' * (len(items) != 1)}, seeds={seeds}"
        )
    runs = []
    for item in items:
        try:
            changed = apply_overrides(base, item)
        except UserError as error:
            raise UserError(f"sweep() of {config}, item {items.index(item)} {list(item)}: {error}") from error
        for i in range(seeds):
            seed = changed.seed + i
            name = f"{base.name[:50]}_{len(runs)}"
            run = changed.model_copy(update={"seed": seed, "name": name})
            runs.append(SweepRun(name, item, seed, run))
    return runs


def _items(config: str) -> Iterable[tuple[str, ...]]:
    file = _python_file(config)
    sweep = config_function(file, "sweep") if file else None
    if sweep is None:
        return [()]
    try:
        found = list(sweep())
    except Exception as error:  # the user's own code may raise anything; it is reported in one line
        raise UserError(f"sweep() of {config} failed: {type(error).__name__}: {error}") from error
    return [_assignments(item, config) for item in found]


def _assignments(item: Any, config: str) -> tuple[str, ...]:
    if isinstance(item, Mapping):
        return tuple(f"{path}={_text(value)}" for path, value in item.items())
    if isinstance(item, list | tuple) and all(isinstance(word, str) for word in item):
        return tuple(item)
    raise UserError(
        f"sweep() must yield dicts {{path: value}} or lists of 'path=value'. Received: {item!r} from {config}"
    )


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)


def _python_file(config: str | os.PathLike) -> Path | None:
    path = Path(config)
    if path.suffix == ".json":
        return None
    return path if path.suffix == ".py" else shipped_experiments().get(str(config))

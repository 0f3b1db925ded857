"""Fine-tuning in one call, with the default recipe."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkeras.config import load_config
from tlkeras.config.base import Config
from tlkeras.data.python_data import INPUTS, source_or_arrays
from tlkeras.errors import UserError
from tlkeras.studies.experiment import run_experiment
from tlkeras.studies.recipes import all_of_small_networks, parts_of_data, recipe_of

if TYPE_CHECKING:
    from tlkeras.studies.finished_run import FinishedRun

_LONG_ENOUGH = 3  # epochs of a stage; a shorter one on few rows can have fewer steps than the warm-up
_ADAPTATION = {"method": "dann"}


def fine_tune(
    data: Any,
    labels: Any = None,
    *,
    backbone: Any = None,
    epochs: int | None = None,
    target: str | os.PathLike | None = None,
    workdir: str | os.PathLike | None = None,
    verdict: bool = False,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    callbacks: Sequence[Any] = (),
    sample_weights: Any = None,
    fresh: bool = False,
    **settings: Any,
) -> "FinishedRun":
    """Trains a head on a pretrained backbone, fine-tunes the last blocks of the backbone, and evaluates the
    result.

    The function calls `run_experiment` with the recipe of the shipped experiment `image_folder`, for texts
    `text_folder`, and for rows of several parts `csv_with_pictures_and_text`. For vectors and columns of a
    table, it trains dense layers from random weights. An interrupted call continues if it is repeated.

    Args:
        data: Folder with one sub-folder per class, file, data source, arrays, dict of named inputs,
            DataFrame, `tf.data.Dataset` or `datasets.Dataset`; see `source_or_arrays`. If there are no test
            rows or validation rows, they are split off.
        labels: Labels `(n,)` if `data` are inputs without labels: an array, a list, a DataFrame, or a dict
            such as `{"image": pictures, "text": texts, "age": ages}`. None if the data contain them.
        backbone: Registered name, or a functional `keras.Model` from raw inputs to features. None uses the
            backbone of the recipe. The recipe for pictures opens the last eight blocks, or all of a network
            with fewer. `stages__1__train="last:2"` opens others.
        epochs: Number of epochs of each stage, or None for the numbers of the recipe.
        target: Folder, file or source of an unlabelled target domain. The run then adapts to it by gradient
            reversal (DANN), and a second run without the target shows whether this helped.
        workdir: Run directory. None uses `runs/NAME` with the name of the data.
        verdict: Whether runs without the transfer (from random weights, and a probe on the frozen backbone)
            are also trained, so that the result says whether the transfer helped. For rows of several parts,
            these are runs on each part alone.
        loss: See `run_experiment`.
        metrics: See `run_experiment`.
        callbacks: See `run_experiment`.
        sample_weights: Weights of the training rows in the class loss: an array with one number per row, or
            the name of a column of a DataFrame or a file. None weights all rows alike. Metrics of validation
            and test rows are not weighted.
        fresh: Whether to start over. An old run is kept under another name.
        **settings: Further settings by their paths in the config, with two underscores between the parts of a
            path: `data__image_size=160`, `stages__1__train="last:2"`, `seed=3`.

    Returns:
        The finished run.

    Raises:
        UserError: There is a mistake in an argument or in the data. The workdir is unchanged.
        RunError: The run cannot continue. The saved state is kept.
        Interrupted: A signal stopped the run. The state is saved.

    Example:
        >>> run = fine_tune("PICTURES", epochs=5)
        >>> run.predict_files("NEW_PICTURES")
    """
    named = {name: settings[f"data__{name}"] for name in INPUTS if settings.get(f"data__{name}")}
    source, arrays, given = source_or_arrays(data, sample_weights, labels, named)
    settings = {path: value for path, value in settings.items() if path not in _settled(given)}
    changes = [f"data.source={source}"] if source is not None else []
    known = {path.removeprefix("data__"): value for path, value in settings.items()} | given
    config = load_config(recipe_of(arrays, known))
    changes += [f"data.{name}={_text(f'data.{name}', value)}" for name, value in given.items()]
    name = re.sub(r"[^A-Za-z0-9_.\-]+", "_", Path((source or "arrays").partition(":")[2] or "arrays").stem)
    changes.append(f"name={name[:64] or 'run'}")
    if isinstance(backbone, str):
        changes += [f"model.backbone={backbone}", "model.fallback=none"]
    for index in range(len(config.stages)):
        if epochs is not None:
            changes.append(f"stages.{index}.epochs={epochs}")
        if epochs is not None and epochs < _LONG_ENOUGH:
            changes.append(f"stages.{index}.optimizer.schedule.warmup_steps=0")
    if target is not None:
        adaptation = _ADAPTATION | {"target": {"source": _target(target)}}
        config = load_config(config.model_dump(mode="json") | {"adaptation": adaptation})
    elif verdict:
        alone = [f"{part}_alone" for part in parts_of_data(known)] if config.model.beside else None
        changes.append(f"verdict.twins={json.dumps(alone or ['scratch', 'frozen_probe'])}")
    dotted = {path.replace("__", "."): value for path, value in settings.items()}
    network = settings.get("model__backbone") if backbone is None else backbone
    changes += all_of_small_networks(config, network, dotted)
    changes += [f"{path}={_text(path, value)}" for path, value in dotted.items()]
    return run_experiment(
        load_config(config, changes),
        workdir,
        arrays,
        fresh=fresh,
        backbone=None if isinstance(backbone, str) else backbone,
        loss=loss,
        metrics=metrics,
        callbacks=callbacks,
    )


def _settled(given: Mapping[str, Any]) -> set[str]:
    """Returns the settings of inputs that the data already have, with the kinds of their columns."""
    return {f"data__{name}" for name in INPUTS if name in given}


def _target(target: Any) -> str:
    source = source_or_arrays(target).source
    if source is None:
        raise UserError(
            f"target must be a folder, a file or a data source. Received: {type(target).__name__}"
        )
    return source


def _text(path: str, value: Any) -> str:
    """Returns the text by which a value is set at a path of the config."""
    if value is None:
        return "none"
    return os.fspath(value) if isinstance(value, str | os.PathLike) else json.dumps(_plain(path, value))


def _plain(path: str, value: Any) -> Any:
    """Returns a part of a config, values of NumPy and paths as JSON has them."""
    if isinstance(value, Config):
        return value.model_dump(mode="json")
    if isinstance(value, np.generic | np.ndarray):
        return _plain(path, value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(f"{path}.{key}", inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(f"{path}.{place}", inner) for place, inner in enumerate(value)]
    if value is None or isinstance(value, str | int | float | os.PathLike):
        return os.fspath(value) if isinstance(value, os.PathLike) else value
    raise UserError(
        f"{path} must be a value of a config: a number, a text, a path, a list, a dict or a part of a "
        f"config. Received: {type(value).__name__}"
    )

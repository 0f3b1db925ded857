"""Fine-tuning in one call, with the default recipe."""

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tlkeras.config import ExperimentConfig, load_config
from tlkeras.data.python_data import source_or_arrays
from tlkeras.errors import UserError
from tlkeras.studies.experiment import run_experiment

if TYPE_CHECKING:
    from tlkeras.studies.finished_run import FinishedRun

_LONG_ENOUGH = 3  # epochs of a stage; a shorter one on few rows can have fewer steps than the warm-up
_ADAPTATION = {"method": "dann"}


def fine_tune(
    data: Any,
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

    The function calls `run_experiment` with the recipe of the shipped experiment `image_folder`. For vectors,
    it trains dense layers from random weights. An interrupted call continues if it is repeated.

    Args:
        data: Folder with one sub-folder per class, file, data source, arrays, DataFrame, `tf.data.Dataset` or
            `datasets.Dataset`; see `source_or_arrays`. If there are no test rows or validation rows, they are
            split off.
        backbone: Registered name, or a functional `keras.Model` from raw inputs to features. None uses the
            backbone of the recipe.
        epochs: Number of epochs of each stage, or None for the numbers of the recipe.
        target: Folder, file or source of an unlabelled target domain. The run then adapts to it by gradient
            reversal (DANN), and a second run without the target shows whether this helped.
        workdir: Run directory. None uses `runs/NAME` with the name of the data.
        verdict: Whether runs without the transfer (from random weights, and a probe on the frozen backbone)
            are also trained, so that the result says whether the transfer helped.
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
    source, arrays, given = source_or_arrays(data, sample_weights)
    changes = [f"data.source={source}"] if source is not None else []
    changes += [f"data.{name}={_text(value)}" for name, value in given.items()]
    config = load_config("text_folder" if "text" in given else _recipe(arrays))
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
        changes.append('verdict.twins=["scratch","frozen_probe"]')
    changes += [f"{path.replace('__', '.')}={_text(value)}" for path, value in settings.items()]
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


def _recipe(arrays: Mapping[str, tuple] | None) -> str | dict | ExperimentConfig:
    """Returns the recipe for the kind of the data."""
    if arrays is None:
        return "image_folder"
    x = np.asarray(next(iter(arrays.values()))[0])
    if x.ndim != 2:
        return "image_folder"
    stage = {"name": "all", "train": "all", "epochs": 30}
    return {
        "data": {"source": "arrays", "batch_size": 32},
        "model": {"backbone": "mlp", "weights": None},
        "stages": [stage],
    }


def _target(target: Any) -> str:
    source = source_or_arrays(target).source
    if source is None:
        raise UserError(
            f"target must be a folder, a file or a data source. Received: {type(target).__name__}"
        )
    return source


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)

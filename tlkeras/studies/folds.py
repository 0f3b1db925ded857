"""Cross-validation: one run per fold, and the mean of the metrics with an interval."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.config import ExperimentConfig
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.intervals import headline
from tlkeras.evaluation.metrics import write_confusion
from tlkeras.evaluation.prediction_files import write_csv
from tlkeras.lazy import LateModule
from tlkeras.run_dir import RunDir
from tlkeras.runs.saved_run import SavedRun

scipy = LateModule("scipy")

CONFIDENCE = 0.95


def run_folds(
    config: ExperimentConfig,
    workdir: str | os.PathLike,
    train: Callable[[ExperimentConfig, Path], Any],
    *,
    fresh: bool = False,
) -> "SavedRun":
    """Trains one run per fold, or continues an earlier process, and writes the mean of the metrics.

    Args:
        config: Config of the experiment.
        workdir: Run directory of the experiment.
        train: Function that trains a config in a directory and returns the finished run, such as
            `run_experiment`.
        fresh: Whether to start over. The old run is kept under another name.

    Returns:
        The run of all folds. Its `runs` are the folds. `evaluation/metrics.json` holds the mean of each
        metric over the folds with its t-interval. `evaluation/predictions_test.npz` holds the prediction
        for each row from the fold in which it was held out.

    Raises:
        UserError: The workdir holds a different run.
    """
    run_dir = RunDir(workdir)
    if run_dir.start(config.model_dump(mode="json"), fresh=fresh) == "finished":
        run_dir.say_finished()
    try:
        folds = [train(config.one_fold(i), run_dir.path / f"fold_{i}") for i in range(config.data.folds)]
        metrics = combined([fold.metrics for fold in folds])
        if not run_dir.is_finished:
            _write(run_dir, [fold.run_dir for fold in folds], metrics)
    finally:
        run_dir.lock.release()
    messages.note(_summary(metrics, config))
    return SavedRun(run_dir)


def combined(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the mean over folds of every metric.

    Args:
        metrics: Metrics of each fold, `{domain: {split: {metric: number, ...}}}`.

    Returns:
        The same tree with two more entries per split. `interval` holds `[low, high]` by metric, from
        Student's t with folds - 1 degrees of freedom. `folds` holds the values of each fold. `rows` is the
        sum over folds.
    """
    return {
        domain: {split: _combined_split([m[domain][split] for m in metrics]) for split in splits}
        for domain, splits in metrics[0].items()
    }


def _combined_split(folds: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name, value in folds[0].items() if _is_number(value)]
    names = [name for name in names if all(_is_number(fold.get(name)) for fold in folds)]
    values = {name: [fold[name] for fold in folds] for name in names if name != "rows"}
    mean = {name: float(np.mean(column)) for name, column in values.items()}
    intervals = {name: t_interval(column) for name, column in values.items()}
    return {"rows": sum(fold["rows"] for fold in folds), **mean, "interval": intervals, "folds": values}


def t_interval(values: list[float]) -> list[float]:
    """Returns the lower and upper end of the interval for the mean of `values`, from Student's t.

    Folds share training rows, so the interval is slightly too narrow (Bengio and Grandvalet 2004).
    """
    mean, count = float(np.mean(values)), len(values)
    quantile = scipy.stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)
    half = quantile * float(np.std(values, ddof=1)) / math.sqrt(count)
    return [mean - half, mean + half]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _write(run_dir: RunDir, folds: list[RunDir], metrics: dict[str, Any]) -> None:
    held_out = [Predictions.load(fold.evaluation / "predictions_test.npz") for fold in folds]
    pooled = Predictions.from_logits(
        np.concatenate([p.logits for p in held_out]),
        task=held_out[0].task,
        labels=np.concatenate([p.labels for p in held_out]),
        ids=np.concatenate([p.ids for p in held_out]),
        class_names=held_out[0].class_names,
    )
    pooled.save(run_dir.evaluation / "predictions_test.npz")
    write_csv(pooled, run_dir.evaluation / "predictions.csv")
    if pooled.task != "regression":
        write_confusion(pooled, run_dir.evaluation / "confusion.csv")
    run_dir.write_json(run_dir.manifest, folds[0].read_json("manifest.json") | {"folds": len(folds)})
    run_dir.write_json(run_dir.evaluation / "metrics.json", metrics)
    run_dir.mark_finished()


def _summary(metrics: dict[str, Any], config: ExperimentConfig) -> str:
    lines = [f"Mean over {config.data.folds} folds:"]
    for domain, splits in metrics.items():
        for split, values in splits.items():
            name = headline(values, config.judged_by)
            low, high = values["interval"][name]
            lines.append(f"  {domain} {split}: {name} {values[name]:.3f} ({low:.3f} to {high:.3f})")
    return "\n".join(lines)

"""The results of a sweep as a table."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tlkeras.config.objective import lower_is_better
from tlkeras.evaluation.intervals import headline
from tlkeras.run_dir import RunDir
from tlkeras.studies.sweep_plan import SweepRun


def results_table(
    runs: list[SweepRun], folder: Path, failures: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Returns one row per run with settings, metrics of every split and seconds, best `val` metric first.

    Args:
        runs: Runs of a sweep.
        folder: Directory of the sweep.
        failures: Reason by name of each failed run. Rows of failed runs come last, with the reason in
            `error`.
    """
    failures = failures or {}
    paths = dict.fromkeys(path for run in runs for path in run.settings)
    rows = []
    for run in runs:
        settings = {path: run.settings.get(path, "") for path in paths}
        judged_by = run.config.judged_by
        scores = {} if run.name in failures else _scores(RunDir(folder / run.name), judged_by)
        rows.append(
            {"run": run.name, **settings, "seed": run.seed, **scores, "error": failures.get(run.name, "")}
        )
    return _with_same_columns(sorted(rows, key=_order), list(paths))


def means_over_seeds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row per setting, with mean and standard deviation of each number over the seeds."""
    about_one_run = {"run", "seed", "error", "seconds"}
    numbers = [name for name in rows[0] if any(isinstance(row[name], float) for row in rows)]
    numbers = [name for name in numbers if name not in about_one_run]
    settings = [name for name in rows[0] if name not in about_one_run and name not in numbers]
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        if not row["error"]:
            groups.setdefault(tuple(row[name] for name in settings), []).append(row)
    table = []
    for values, members in groups.items():
        row = dict(zip(settings, values, strict=True)) | {"seeds": len(members)}
        for name in numbers:
            column = [m[name] for m in members if isinstance(m[name], float)]
            row[name] = float(np.mean(column)) if column else ""
            row[f"{name} (sd)"] = float(np.std(column, ddof=1)) if len(column) > 1 else ""
        table.append(row)
    return sorted(table, key=_order)


def _scores(run_dir: RunDir, judged_by: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    two_tasks = (run_dir.path / "evaluation" / "tasks.json").is_file()
    own = "target" if two_tasks else "source"  # with two tasks, the target is the run's own
    for domain, splits in run_dir.read_json("evaluation/metrics.json").items():
        for split, values in splits.items():
            name = headline(values, judged_by)
            prefix = "" if domain == own else f"{domain}_"
            found[f"{prefix}{split}_{name}"] = float(values[name])
    parts = [RunDir(run_dir.path / task) for task in ("source", "target")] if two_tasks else [run_dir]
    events = [event for part in parts for event in part.ledger.records()]
    seconds = [event.get("training_seconds", 0) + event.get("extraction_seconds", 0) for event in events]
    return found | {"seconds": round(float(sum(seconds)), 1)}


def _order(row: Mapping[str, Any]) -> tuple:
    """Sort key: best validation metric first, then best test metric. Rows without a result come last."""
    keys: list[float] = []
    for split in ("val", "test", "train"):
        for name, value in row.items():
            if name.startswith(f"{split}_") and not name.endswith("(sd)") and isinstance(value, float):
                keys.append(value if lower_is_better(name) else -value)
    return (bool(row.get("error")), *(keys or [math.inf]))


def _with_same_columns(rows: list[dict[str, Any]], paths: list[str]) -> list[dict[str, Any]]:
    scores = dict.fromkeys(name for row in rows for name in row)
    middle = [n for n in scores if n not in ("run", "seed", "seconds", "error", *paths)]
    columns = ["run", *paths, "seed", *sorted(middle, key=_split_order), "seconds", "error"]
    return [{name: row.get(name, "") for name in columns} for row in rows]


def _split_order(name: str) -> tuple:
    words, splits = name.split("_"), ("val", "test", "train")
    place = next((i for i, word in enumerate(words) if word in splits), len(words))
    return (place, splits.index(words[place]) if place < len(words) else 3)

"""Writes compare.html: several runs with intervals, paired tests, curves and config differences."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlkeras.config import MetricConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.intervals import score_interval
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import registered, score_of
from tlkeras.report.page import curves
from tlkeras.report.paired_test import Pair, holm, pair
from tlkeras.report.reading import RunRecord, read_run
from tlkeras.report.rendering import number, render
from tlkeras.run_dir import RunDir, config_differences

_SHOWN = ("macro_f1", "expected_calibration_error", "loss", "rmse")
_WORDS = {"helped": "better", "hurt": "worse", "no_difference": "no difference"}
_LOSSES = {"fell": "lower", "rose": "higher", "no_difference": "no difference"}
_ABSENT = object()


def compare_runs(paths: Sequence[str | os.PathLike]) -> list[dict[str, Any]]:
    """Returns one row per run: its score with a 95 % interval, other metrics, and a paired test.

    Each run is tested against the first. `gain` is the difference of the scores on the rows that both have,
    and `gain_low` and `gain_high` are its 99 % interval (see `tlkeras.evaluation.verdict`). `verdict` is
    the conclusion. `log_loss` says whether the log loss is `lower`, `higher` or shows `no difference` (see
    `tlkeras.evaluation.log_loss`). `p` is McNemar's exact p-value, adjusted for the number of runs (Holm).
    The score is the accuracy (R2 for regression) on the test split, or the metric of `judged_by` if all runs
    name the same one; `metric` is its name. The domain is the target if all runs have one with labels, else
    the source.

    Args:
        paths: Run directories, or folders that contain runs.

    Raises:
        UserError: There are no runs, or one cannot be read.
    """
    return _rows(_records(paths))


def write_comparison(paths: Sequence[str | os.PathLike], output: str | os.PathLike) -> list[dict[str, Any]]:
    """Writes a page that compares runs.

    Args:
        paths: Run directories, or folders that contain runs.
        output: Path of the HTML file.

    Returns:
        Rows of the table of the page, one per run, each with its values by column.

    Raises:
        UserError: There are no runs, or one cannot be read.
    """
    records = _records(paths)
    rows = _rows(records)
    render(
        "compare.html",
        output,
        title=f"{len(records)} runs – tlkeras compare",
        reference=rows[0]["run"],
        domain=_domain(records),
        metric=next((row["metric"] for row in rows if row["metric"]), None),
        rows=rows,
        others=[key for key in _SHOWN if any(row.get(key) is not None for row in rows)],
        curves=curves(records),
        names=list(records),
        differences=_differences(records),
    )
    return rows


def _records(paths) -> dict[str, RunRecord]:
    found = [read_run(path) for folder in paths for path in _runs_in(Path(folder))]
    if not found:
        raise UserError("Name at least one run directory, or a folder that holds runs. Received: nothing")
    short = [record.path.resolve().name for record in found]
    names = short if len(set(short)) == len(short) else [str(record.path) for record in found]
    return dict(zip(names, found, strict=True))


def _runs_in(path: Path) -> list[Path]:
    if RunDir(path).is_run or not path.is_dir():
        return [path]
    return sorted(child for child in path.iterdir() if child.is_dir() and RunDir(child).is_run) or [path]


def _domain(records: dict[str, RunRecord]) -> str:
    return "target" if all(record.shown_split("target") for record in records.values()) else "source"


def _rows(records: dict[str, RunRecord]) -> list[dict[str, Any]]:
    domain = _domain(records)
    predictions = {name: _predictions(record, domain) for name, record in records.items()}
    (first, reference), metric = next(iter(predictions.items())), _metric(records)
    rows = []
    for name, record in records.items():
        own = predictions[name]
        found = None
        if own is not None and reference is not None and own is not reference:
            found = pair(own, reference, (record.run_dir, records[first].run_dir), domain, metric)
        numbers = _numbers(record, domain)
        named = None if own is None else score_of(own, metric)
        score, low, high = score_interval(own, metric) if own is not None else (None, None, None)
        rows.append(
            {"run": name, "backbone": record.config["model"]["backbone"], "split": record.shown_split(domain)}
            | {"metric": named and named.name, "score": score, "low": low, "high": high}
            | {"is_share": named is None or named.is_share}
            | numbers
            | _paired(found)
        )
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p"] = p
    return rows


def _metric(records: dict[str, RunRecord]) -> MetricConfig | None:
    """Returns the metric by which all runs are judged, or None if they differ or it is not registered."""
    found = [registered(record.judge) for record in records.values()]
    return found[0] if all(metric == found[0] for metric in found) else None


def _numbers(record: RunRecord, domain: str) -> dict[str, Any]:
    values = record.metrics.get(domain, {}).get(record.shown_split(domain), {})
    seconds = record.training_seconds if record.stages else None
    return {key: values.get(key) for key in (*_SHOWN, "rows")} | {"seconds": seconds}


def _paired(found: Pair | None) -> dict[str, Any]:
    if found is None:
        return dict.fromkeys(("gain", "gain_low", "gain_high", "verdict", "log_loss", "p", "paired_rows"))
    low, high = found.interval or (None, None)
    return {
        "gain": found.gain, "gain_low": low, "gain_high": high,
        "verdict": _WORDS[found.verdict], "log_loss": found.log_loss and _LOSSES[found.log_loss["verdict"]],
        "p": found.p_value, "paired_rows": found.rows,
    }  # fmt: skip


def _predictions(record: RunRecord, domain: str) -> Predictions | None:
    split = record.shown_split(domain)
    found = record.predictions(domain, split) if split else None
    return found if found is not None and found.labels is not None and len(found) else None


def _differences(records: dict[str, RunRecord]) -> list[tuple[str, list[str]]]:
    """Returns the config fields in which the runs differ, as `(path, values of the runs)`."""
    configs = [record.config for record in records.values()]
    paths = dict.fromkeys(
        line.partition(": received ")[0]
        for config in configs[1:]
        for line in config_differences(config, configs[0], ignore=("name",))
    )
    return [(path, [_at(config, path) for config in configs]) for path in paths]


def _at(config: Any, path: str) -> str:
    value = config
    for key in path.split("."):
        if isinstance(value, list):
            value = value[int(key)] if key.isdigit() and int(key) < len(value) else _ABSENT
        else:
            value = value.get(key, _ABSENT) if isinstance(value, dict) else _ABSENT
    if value is _ABSENT:
        return "–"
    return "none" if value is None else number(value)

"""Compares two runs on the same test rows: the gain, its interval and its significance."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from tlkeras.config import MetricConfig
from tlkeras.evaluation.judged_runs import judge_runs
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import row_scores
from tlkeras.lazy import LateModule
from tlkeras.run_dir import RunDir

scipy = LateModule("scipy")


@dataclass(frozen=True)
class Pair:
    """The comparison of a run with a reference run.

    Attributes:
        rows: Number of rows that both runs predicted.
        gain: Score of the run minus that of the reference.
        interval: 99 % interval of the gain over rows and seeds. See `tlkeras.evaluation.verdict`.
        verdict: One of `helped`, `no_difference` and `hurt`.
        log_loss: Comparison of the log losses, or None; see `tlkeras.evaluation.log_loss`.
        p_value: p-value of McNemar's exact test (McNemar 1947), which considers rows but not seeds. None if
            another metric than the accuracy decides, or predictions are not simply correct or wrong.
    """

    rows: int
    gain: float | None
    interval: tuple[float, float] | None
    verdict: str
    log_loss: dict[str, Any] | None
    p_value: float | None


def pair(
    run: Predictions,
    reference: Predictions,
    run_dirs: tuple[RunDir, RunDir],
    domain: str,
    metric: MetricConfig | None = None,
) -> Pair | None:
    """Compares two runs on their common rows, matched by id. Returns None if they have none.

    Args:
        run: Labelled predictions of the run.
        reference: Labelled predictions of the reference run.
        run_dirs: Directories of run and reference run.
        domain: Domain of the rows.
        metric: Metric that decides, or None for the accuracy (R2 for regression).
    """
    ours, theirs = _common(run, reference)
    if ours is None or ours.task != theirs.task:
        return None
    found = judge_runs([ours], [theirs], [run_dirs], domain, metric=metric)
    p_value = mcnemar(ours, theirs) if found.metric == "accuracy" else None
    return Pair(len(ours), found.gain, found.interval, found.verdict, found.log_loss, p_value)


def mcnemar(run: Predictions, reference: Predictions) -> float | None:
    """Returns the two-sided p-value of McNemar's exact test. Both runs must have the same order of rows."""
    ours, theirs = row_scores(run), row_scores(reference)
    if not (np.isin(ours, (0, 1)).all() and np.isin(theirs, (0, 1)).all()):
        return None
    better, worse = int((ours > theirs).sum()), int((ours < theirs).sum())
    return float(scipy.stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def holm(p_values: list[float | None]) -> list[float | None]:
    """Returns p-values adjusted for their number (Holm 1979). None stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted, highest = list(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        adjusted[i] = highest
    return adjusted


def _common(run: Predictions, reference: Predictions) -> tuple[Any, Any]:
    if run.labels is None or reference.labels is None:
        return None, None
    there = {name: row for row, name in enumerate(reference.ids)}
    mine = [row for row, name in enumerate(run.ids) if name in there]
    if not mine or len(there) < len(reference.ids):
        return None, None
    theirs = reference.take(np.array([there[name] for name in run.ids[mine]]))
    ours = run.take(np.array(mine))
    # rows with equal ids but different labels are different rows
    return (ours, theirs) if np.array_equal(ours.labels, theirs.labels) else (None, None)

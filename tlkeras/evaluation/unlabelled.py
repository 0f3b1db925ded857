"""The verdict and notes for test rows without labels, which is the usual case of a target domain."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import usual_score
from tlkeras.evaluation.verdict import Verdict, counted, label_free


def unlabelled_verdict(
    runs: Sequence[Predictions],
    *,
    twin_name: str,
    judged_by: str | None = None,
    information_maximization: tuple[float, float] | None = None,
) -> Verdict:
    """Returns the verdict `not_judged` with the values that are known without labels.

    Args:
        runs: Predictions of the run on rows without labels, one per seed.
        twin_name: Name of the twin.
        judged_by: Name of the metric of the config, or None for the usual one.
        information_maximization: Label-free scores of `(run, twin)`, or None; see `judge`.
    """
    rows = len(np.unique(np.concatenate([run.ids for run in runs]).astype(str)))
    measured = ""
    if information_maximization is not None:
        run, twin = information_maximization
        measured = (
            f" Without labels there is information maximisation: {run:.3f} against {twin:.3f} "
            f"({twin_name}), {counted(len(runs), 'seed')}."
        )
    sentence = (
        f"Not judged: there are no labels for {counted(rows, 'test row')}, so it is not known whether the "
        f"transfer helped compared with {twin_name}.{measured} Labels for a few hundred rows would show "
        "it."
    )
    return Verdict(
        verdict="not_judged", gain=None, interval=None, sentence=sentence,
        metric=judged_by or usual_score(runs[0]).name, run=None, twin=None,
        twin_name=twin_name, majority=None, broken_twin=None, gains=(), seeds=len(runs),
        rows=rows, **label_free(information_maximization),
    )  # fmt: skip


def unlabelled_note(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns a sentence that names the domains without any label, or an empty string.

    Args:
        metrics: Metrics `{domain: {split: {...}}}` that `write_evaluation` returned.
    """
    bare = [domain for domain, splits in metrics.items() if not splits]
    if not bare:
        return ""
    files = ", ".join(f"evaluation/{domain}/predictions.csv" for domain in bare)
    return (
        f"There are no labels in {', '.join(bare)}. The rows are predicted ({files}), but no metrics are "
        "computed."
    )

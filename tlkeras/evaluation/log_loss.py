"""The log loss of a run beside that of its twin: what predictions hold beyond right and wrong.

The accuracy counts only whether the most probable class is the right one. The log loss also counts how
probable the right class was. It stands beside the verdict and does not change it: a lower log loss does not
mean a higher accuracy.

The probabilities of both sides are calibrated on their validation rows, so that over-confidence alone does
not decide. With adaptation these are rows of the source, and over-confidence on the target counts. A single
row cannot decide either: a probability counts as at least a hundredth of an even guess.
The interval is that of the verdict (`gain_interval`). The log loss varies more between seeds than the
accuracy: on the networks of `benchmarks/verdict_power.py`, the additional variance was 0.0006 of the mean
square of the differences between rows with 300 labels, and 0.009 to 0.025 with few labels or under shift,
two and a half to five times that of the accuracy. The prior is 0.005, and 0.025 in unstable cases.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.seed_noise import OF_LOG_LOSS
from tlkeras.evaluation.verdict import UNSTABLE, Verdict, aligned, decide, gain_interval, measured_gain

FLOOR = 0.01  # smallest probability of the right class that counts, as a fraction of an even guess
SMALLEST = 0.01  # smallest difference that counts, as a fraction of the twin's loss
_CHANGES = {"helped": "fell", "hurt": "rose", "no_difference": "no_difference"}


def with_log_loss(
    verdict: Verdict,
    runs: Sequence[Predictions],
    twins: Sequence[Predictions],
    temperatures: Sequence[tuple[float | None, float | None]],
    *,
    unstable: bool = False,
    of_source: bool = False,
) -> Verdict:
    """Returns a verdict with the comparison of the log losses in `log_loss`.

    The verdict is returned unchanged if there is nothing to compare: for a regression, for logits that are
    not finite, and for a broken twin.

    Args:
        verdict: Verdict on these predictions.
        runs: Labelled predictions of the run on the test rows, one per seed.
        twins: Those of its twin, in the same order of seeds and with the same rows in any order.
        temperatures: Temperatures of run and twin for each seed, fitted on validation rows, or None if there
            were none. If one of them is None, no probabilities are calibrated.
        unstable: Whether trainings differ much between seeds; see `judge`.
        of_source: Whether the temperatures were fitted on rows of another domain than the test rows.
    """
    sides = [*runs, *twins]
    if verdict.broken_twin or any(
        p.task == "regression" or p.labels is None or not np.isfinite(p.logits).all() for p in sides
    ):
        return verdict
    twins = [aligned(run, twin) for run, twin in zip(runs, twins, strict=True)]
    fitted = [(ours, theirs) for ours, theirs in temperatures if ours is not None and theirs is not None]
    calibrated = len(fitted) == len(runs)
    used = fitted if calibrated else [(1.0, 1.0)] * len(runs)
    ours = [row_losses(run, pair[0]) for run, pair in zip(runs, used, strict=True)]
    theirs = [row_losses(twin, pair[1]) for twin, pair in zip(twins, used, strict=True)]
    run, twin = (float(np.mean([rows.mean() for rows in side])) for side in (ours, theirs))
    interval = loss_interval(
        ours, theirs, unstable=unstable, same_rows=all(np.array_equal(runs[0].ids, p.ids) for p in runs)
    )
    facts = {
        "verdict": _CHANGES[decide(twin - run, interval, smallest=SMALLEST * twin)],
        "run": run, "twin": twin, "gain": twin - run, "interval": list(interval), "calibrated": calibrated,
    }  # fmt: skip
    return dataclasses.replace(verdict, log_loss=facts | {"sentence": _sentence(facts, verdict, of_source)})


def row_losses(predictions: Predictions, temperature: float) -> np.ndarray:
    """Returns the log loss of each row, float64 (n,); for multilabel the mean over its labels.

    Args:
        predictions: Labelled predictions of classes.
        temperature: Temperature by which the logits are divided, above 0.
    """
    probabilities, labels = predictions.at_temperature(temperature).probabilities, predictions.labels
    if predictions.task == "multilabel":
        right = np.where(labels >= 0.5, probabilities, 1 - probabilities)
        return -np.log(np.maximum(right, FLOOR / 2)).mean(axis=1)
    right = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(right, FLOOR / probabilities.shape[1]))


def loss_interval(
    ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, unstable: bool, same_rows: bool = True
) -> tuple[float, float]:
    """Returns the 99 % interval of the fall of the loss from twin to run, over rows and seeds.

    Args:
        ours: Loss of each row of the run, float (n,), for each seed.
        theirs: That of its twin, in the same order of rows.
        unstable: Whether trainings differ much between seeds; see `judge`.
        same_rows: Whether all seeds were tested on the same rows.
    """
    prior = OF_LOG_LOSS.variance(ours, theirs) * (UNSTABLE if unstable else 1.0)
    falls = [twin - run for run, twin in zip(ours, theirs, strict=True)]
    return gain_interval(falls, same_rows=same_rows, prior=prior)


def _sentence(facts: dict[str, Any], verdict: Verdict, of_source: bool) -> str:
    change = facts["verdict"]
    measured = (
        f"{facts['run']:.3f} against {facts['twin']:.3f}, "
        f"{measured_gain(facts['gain'], tuple(facts['interval']), is_share=False)}."
    )
    raw = "" if facts["calibrated"] else " The probabilities are not calibrated: over-confidence counts too."
    if facts["calibrated"] and of_source:
        raw = " The probabilities are calibrated on the source: over-confidence on the target counts too."
    if change == "no_difference":
        return f"The log loss shows no difference: {measured}{raw}"
    if verdict.verdict == {"fell": "helped", "rose": "hurt"}[change]:
        return f"The log loss also {change}: {measured}{raw}"
    better = "better" if change == "fell" else "worse"
    meaning = f" The probabilities became {better}, which does not show a {better} {verdict.metric}."
    start = "The log loss" if verdict.verdict == "no_difference" else "But the log loss"
    return f"{start} {change}: {measured}{meaning}{raw}"

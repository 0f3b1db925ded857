"""The verdict on a transfer: the gain of a run over its twin on the same test rows, with its uncertainty.

The interval covers two causes of variation: other test rows, and other seeds. A bootstrap over rows covers
only the first. Two trainings of one config differ by more than the bootstrap explains, because their errors
are correlated, above all with few labels and under domain shift. On small networks (digits, 24 seeds), the
additional variance of the gain was `c * d`. Here `d` is the share of rows on which the two networks are not
equally correct, and c was 0.0003 to 0.003 for 100 to 400 labels, and 0.005 to 0.03 for 50 labels that are
drawn per seed or tested under shift.

The interval therefore adds a seed term to the bootstrap over rows. Rows and seeds are crossed: every seed
answers the same rows. The variance between the gains of the seeds contains the noise of the rows, which the
bootstrap covers already, so it is taken off first (`variance_between_seeds`). What is left is pooled with a
prior of `0.002 * d`, which counts as four seeds, and the term has Student's tails. Under domain shift, and
with fewer than 100 training rows, the prior is five times larger. With one seed the term is the prior alone.
A bootstrap over three seeds cannot give a 99 % interval, because it never leaves their range, which misses
the truth one time in four. `benchmarks/verdict_power.py` measures false alarms and power.

A metric that is no mean over rows (macro F1, AUC, kappa) is judged in the same way, by the contributions of
the rows to it (`tlkeras.evaluation.by_rows`). `d` is then the mean square of the differences between the
contributions. With 300 labels, c was 0.001 to 0.003 for scores of classes, and 0.003 to 0.005 for an AUC,
whose prior is 0.005. Errors of a regression vary with their size: their standard deviation over seeds was 1
per cent of the error, and 3 per cent for a loss of a quantile. Their priors are 1.5 and 4 per cent, and for
R2 it is 3 per cent of 1 - R2. With 50 labels all of this is several times larger. `docs/did_it_help.md` has
the coverage.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from tlkeras.config import MetricConfig
from tlkeras.evaluation.predictions import Predictions
from tlkeras.evaluation.score import MIN_EFFECT, Score, score_of
from tlkeras.evaluation.seed_noise import OF_SCORES

CONFIDENCE = 0.99
PRIOR_SEEDS = 4
UNSTABLE = 5.0  # factor of the prior under domain shift or with few labels
FEW_LABELS = 100
_DRAWS = 10_000
_CELLS = 2**22  # numbers that are drawn at once


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The content of `evaluation/verdict.json`. Gains and scores are in units of the metric.

    Attributes:
        verdict: Verdict: `helped`, `no_difference` or `hurt`. If the test rows have no labels, it is
            `not_judged`, and the values that need labels are None; see `unlabelled_verdict`.
        gain: Score of the run minus that of its twin, mean over seeds. If a smaller score is better, it is
            the other way round, so that a positive gain is always better.
        interval: 99 % interval of the gain over seeds and test rows.
        sentence: Verdict as text for people.
        metric: Metric of the score: `accuracy` (over all single predictions for multilabel), `r2` for
            regression, or the metric that the config names.
        run: Score of the run, mean over seeds.
        twin: Score of the twin, mean over seeds.
        twin_name: Name of the twin, e.g. `source only`.
        majority: Score of the best constant prediction on these rows, in units of the metric.
        broken_twin: Whether the twin is no better than the best constant prediction. If so, no gain is
            claimed.
        gains: Gain of each seed.
        seeds: Number of seeds.
        rows: Number of test rows.
        confidence: Confidence level of the interval, above 0 and below 1.
        warning: Warning from the label-free score, or None.
        information_maximization: Label-free scores of `run` and `twin`, mean over seeds, or None.
        lower_is_better: Whether a smaller score is better.
        log_loss: Comparison of the log losses, which does not change the verdict, or None; see
            `tlkeras.evaluation.log_loss`. It has the losses of `run` and `twin`, the `gain` (how far the loss
            fell) with its `interval`, `calibrated`, a `sentence`, and `verdict`: `fell`, `no_difference` or
            `rose`.
    """

    verdict: Literal["helped", "no_difference", "hurt", "not_judged"]
    gain: float | None
    interval: tuple[float, float] | None
    sentence: str
    metric: str
    run: float | None
    twin: float | None
    twin_name: str
    majority: float | None
    broken_twin: bool | None
    gains: tuple[float, ...]
    seeds: int
    rows: int
    confidence: float = CONFIDENCE
    warning: str | None = None
    information_maximization: dict[str, float] | None = None
    lower_is_better: bool = False
    log_loss: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Converts the verdict for a JSON file.

        Returns:
            Attributes as JSON values, by name.
        """
        interval = None if self.interval is None else list(self.interval)
        return {**dataclasses.asdict(self), "interval": interval, "gains": list(self.gains)}


def judge(
    runs: Predictions | Sequence[Predictions],
    twins: Predictions | Sequence[Predictions],
    *,
    twin_name: str = "twin",
    information_maximization: tuple[float, float] | None = None,
    metric: MetricConfig | None = None,
    own: Sequence[Any] = (),
    unstable: bool = False,
) -> Verdict:
    """Judges runs against their twins.

    Args:
        runs: Labelled predictions of the run on the test rows, one per seed.
        twins: Predictions of its twin in the same order of seeds. A run and its twin have the same rows in
            any order. The rows may differ between seeds.
        twin_name: Name of the twin in the sentence.
        information_maximization: Label-free scores of `(run, twin)` on the target, or None. A lower score of
            the run gives a warning. The score fell in a known case of negative transfer and rose in a case of
            positive transfer.
        metric: Metric that decides. None uses the accuracy, or R2 for regression.
        own: Keras metrics that were passed from Python, of which `metric` may name one.
        unstable: Whether trainings differ much between seeds: the test rows are of another domain than the
            labelled training rows, or there are fewer than `FEW_LABELS` of these.

    Raises:
        ValueError: There are no predictions or no labels, or a run and its twin have different rows.
        UserError: The task does not have the metric.
    """
    runs = [runs] if isinstance(runs, Predictions) else list(runs)
    twins = [twins] if isinstance(twins, Predictions) else list(twins)
    if not runs or len(runs) != len(twins) or not all(map(len, runs)):
        raise ValueError(
            "A verdict needs as many twins as runs, and test rows. "
            f"Received: {len(runs)} runs, {len(twins)} twins, rows={[len(run) for run in runs]}"
        )
    twins = [aligned(run, twin) for run, twin in zip(runs, twins, strict=True)]
    if any(run.labels is None for run in runs):
        raise ValueError("A verdict needs labels of the test rows. Received: labels=None")
    score = score_of(runs[0], metric, own)
    ours, theirs = ([score.rows(predictions) for predictions in side] for side in (runs, twins))
    differences = [score.sign * (run - twin) for run, twin in zip(ours, theirs, strict=True)]
    same_rows = all(np.array_equal(runs[0].ids, run.ids) for run in runs[1:])
    prior = score.seed_noise.variance(ours, theirs) * (UNSTABLE if unstable else 1.0)
    interval = gain_interval(differences, same_rows=same_rows, prior=prior)
    gain, run, twin = map(_mean_of_means, (differences, ours, theirs))
    majority = float(np.mean([score.constant(run) for run in runs]))
    broken = score.sign * (twin - majority) <= 1e-9
    smallest = score.smallest_effect(twin)
    facts = {
        "verdict": decide(gain, interval, broken_twin=broken, smallest=smallest),
        "gain": gain,
        "interval": interval,
        "metric": score.name,
        "run": run,
        "twin": twin,
        "twin_name": twin_name,
        "majority": majority,
        "broken_twin": bool(broken),
        "gains": tuple(float(difference.mean()) for difference in differences),
        "seeds": len(runs),
        "rows": len(np.unique(np.concatenate([run.ids for run in runs]).astype(str))),
        "lower_is_better": score.lower_is_better,
        **label_free(information_maximization),
    }
    return Verdict(sentence=_sentence(facts, score, smallest), **facts)


def gain_interval(
    differences: Sequence[np.ndarray],
    *,
    same_rows: bool,
    confidence: float = CONFIDENCE,
    prior: float | None = None,
    prior_seeds: int = PRIOR_SEEDS,
) -> tuple[float, float]:
    """Returns the interval of the mean gain over seeds and rows. The module's docstring explains it.

    Args:
        differences: Score of each row of the run minus that of the twin, float (n,), for each seed.
        same_rows: Whether all seeds were tested on the same rows, which are then drawn together.
        confidence: Confidence level in 0..1.
        prior: Prior variance of the gain between seeds, or None for that of the accuracy.
        prior_seeds: Number of seeds that the prior counts for.
    """
    rng = np.random.default_rng(0)
    seeds = len(differences)
    if same_rows:
        gains = _row_draws(np.mean(differences, axis=0), rng)
    else:
        gains = np.mean([_row_draws(difference, rng) for difference in differences], axis=0)
    if prior is None:
        prior = OF_SCORES.variance(differences, [np.zeros(1)] * seeds)
    between = variance_between_seeds(differences, same_rows=same_rows)
    degrees = prior_seeds + seeds - 1
    variance = (prior_seeds * prior + (seeds - 1) * between) / degrees
    gains = gains + rng.standard_t(degrees, _DRAWS) * np.sqrt(variance / seeds)
    low, high = np.quantile(gains, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def variance_between_seeds(differences: Sequence[np.ndarray], *, same_rows: bool) -> float:
    """Returns the variance of the gain between seeds beyond the noise of the rows, at least 0.

    With the same rows it is the estimate of a crossed analysis of variance: the variance of the gains of the
    seeds, less the mean square of the residuals of rows and seeds by row. With other rows for each seed, the
    variance of the rows is taken off.

    Args:
        differences: Score of each row of the run minus that of the twin, float (n,), for each seed.
        same_rows: Whether all seeds were tested on the same rows.
    """
    seeds = len(differences)
    if seeds == 1:
        return 0.0
    gains = np.array([difference.mean() for difference in differences])
    if same_rows:
        residuals = np.stack(differences) - np.mean(differences, axis=0) - gains[:, None] + gains.mean()
        rows = residuals.shape[1]
        noise = (residuals**2).sum() / ((seeds - 1) * max(rows - 1, 1)) / rows
    else:
        noise = np.mean([difference.var() / len(difference) for difference in differences])
    return max(float(gains.var(ddof=1) - noise), 0.0)


def decide(
    gain: float, interval: tuple[float, float], *, broken_twin: bool = False, smallest: float = MIN_EFFECT
) -> Literal["helped", "no_difference", "hurt"]:
    """Returns the verdict. A gain needs an interval without 0, the smallest effect, and no broken twin."""
    if gain <= -smallest and interval[1] < 0:
        return "hurt"
    if gain >= smallest and interval[0] > 0 and not broken_twin:
        return "helped"
    return "no_difference"


def aligned(run: Predictions, twin: Predictions) -> Predictions:
    """Returns the predictions of a twin in the order of the rows of its run."""
    if not np.array_equal(run.ids, twin.ids):
        if sorted(run.ids) != sorted(twin.ids):
            missing = next(iter(set(run.ids) ^ set(twin.ids)), "a row twice")
            raise ValueError(f"Run and twin must have the same test rows. Received: {missing!r} in one")
        order = np.argsort(np.argsort(run.ids, kind="stable"), kind="stable")
        twin = twin.take(np.argsort(twin.ids, kind="stable")[order])
    if not np.array_equal(run.labels, twin.labels):
        raise ValueError("Run and twin must have the same labels. Received: different ones")
    return twin


def _row_draws(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the means of `_DRAWS` bootstrap samples of the rows."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 64:  # few distinct values: drawing counts gives the same distribution in less time
        draws = rng.multinomial(len(values), counts / len(values), size=_DRAWS)
        return draws @ distinct / len(values)
    size = len(values)
    at_once = max(1, _CELLS // size)
    parts = [min(at_once, _DRAWS - done) for done in range(0, _DRAWS, at_once)]
    return np.concatenate([values[rng.integers(size, size=(part, size))].mean(axis=1) for part in parts])


def _mean_of_means(values: Sequence[np.ndarray]) -> float:
    return float(np.mean([value.mean() for value in values]))


def label_free(scores: tuple[float, float] | None) -> dict[str, Any]:
    """Returns the entries of a verdict for the label-free scores of `(run, twin)`: scores and warning."""
    warning = None
    if scores is not None and scores[0] < scores[1]:
        warning = (
            f"Information maximisation on the unlabelled target fell from {scores[1]:.3f} (twin) to "
            f"{scores[0]:.3f}: even without labels this looks like negative transfer."
        )
    both = scores and {"run": float(scores[0]), "twin": float(scores[1])}
    return {"warning": warning, "information_maximization": both}


def measured_gain(gain: float, interval: tuple[float, float], *, is_share: bool) -> str:
    """Returns a gain with its interval for people: in points, or in units of the metric."""
    low, high = interval
    if is_share:
        return f"{100 * gain:+.1f} points, 99 % interval {100 * low:+.1f} to {100 * high:+.1f}"
    return f"{'better' if gain >= 0 else 'worse'} by {abs(gain):.3g}, 99 % interval {low:+.3g} to {high:+.3g}"


def _sentence(facts: dict[str, Any], score: Score, smallest: float) -> str:
    name, low, high = facts["twin_name"], *facts["interval"]
    measured = (
        f"{score.name} {facts['run']:.3f} against {facts['twin']:.3f} ({name}"
        f"{'; lower is better' if score.lower_is_better else ''}): "
        f"{measured_gain(facts['gain'], facts['interval'], is_share=score.is_share)}, "
        f"{counted(facts['seeds'], 'seed')}, {counted(facts['rows'], 'test row')}."
    )
    if facts["verdict"] == "hurt":
        advice = (
            "This is negative transfer: leave the transfer out, make it weaker, or choose a source "
            "closer to the target."
        )
        start = "The transfer hurt"
    elif facts["broken_twin"]:
        start = "Broken twin, so nothing can be said"
        advice = (
            f"The twin is no better than always giving one answer ({facts['majority']:.3f}): repair it "
            "before you trust any gain."
        )
    elif facts["verdict"] == "helped":
        start, advice = "The transfer helped", ""
    else:
        start = "No difference"
        close = max(abs(low), abs(high)) < smallest
        advice = "" if close else "More seeds or more test rows would make the result more certain."
    if facts["seeds"] == 1 and facts["verdict"] != "no_difference":
        advice += " The variation between seeds is assumed here and not measured: use three or five seeds."
    return " ".join(part for part in (f"{start}: {measured}", advice.strip()) if part)


def counted(count: int, what: str) -> str:
    """Returns e.g. `"1 seed"` or `"3 seeds"`."""
    return f"{count} {what}" if count == 1 else f"{count:,} {what}s"

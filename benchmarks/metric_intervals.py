"""The coverage of the verdict's intervals for metrics other than the accuracy.

    python benchmarks/metric_intervals.py --out=/tmp/intervals

Small networks of scikit-learn are trained with 24 seeds each, as a run and as its twin, and predict a
population of 6,000 rows. The truth is the gain on all rows, mean over all seeds. A case draws 272 rows and
one, three or five seeds from them, with replacement, and asks whether the 99 % interval of the verdict covers
the truth. False alarms are verdicts on a twin of the same config, whose true gain is 0. The classes have
shares of 25 to 2 per cent, and the positive class of "binary" and "rare" one of 11 and 3 per cent. "Few
labels" means 50 training rows that each seed draws anew; otherwise all seeds have the same 300.

It takes about an hour on two shared cores, without an accelerator, and prints the numbers of the table in
docs/did_it_help.md.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import sklearn.datasets
import sklearn.neural_network as networks

from tlkeras.config import MetricConfig
from tlkeras.evaluation import Predictions, verdict
from tlkeras.evaluation.score import score_of

SEEDS, POPULATION, ROWS = 24, 6000, 272
METRICS = {
    "multiclass": [
        MetricConfig(name="accuracy"),
        MetricConfig(name="macro_f1"),
        MetricConfig(name="balanced_accuracy"),
        MetricConfig(name="cohen_kappa"),
        MetricConfig(name="auc"),
        MetricConfig(name="top_k_categorical_accuracy", options={"k": 2}),
    ],
    "binary": [MetricConfig(name="f_beta", options={"beta": 2.0}), MetricConfig(name="auc")],
    "rare": [MetricConfig(name="f_beta", options={"beta": 2.0}), MetricConfig(name="auc")],
    "regression": [
        MetricConfig(name="mae"),
        MetricConfig(name="root_mean_squared_error"),
        MetricConfig(name="quantile_loss", options={"quantile": 0.9}),
    ],
}


def main():
    """Prints a row per task, number of labels and metric, and writes all numbers."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", required=True, help="folder for intervals.jsonl")
    flags.add_argument("--cases", type=int, default=200)
    flags.add_argument("--metrics", default="", help="names, separated by commas; all by default")
    given = flags.parse_args()
    verdict._DRAWS = 4000
    warnings.simplefilter("ignore")  # some networks are meant to stop early
    file = Path(given.out) / "intervals.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    for task, metrics in METRICS.items():
        for few in (False, True):
            runs, twins = (trainings(task, few, size) for size in ((64,), (24,)))
            for metric in metrics:
                if given.metrics and metric.name not in given.metrics.split(","):
                    continue
                found = measured(runs, twins, metric, given.cases)
                row = {"task": task, "few_labels": few, "metric": metric.name} | found
                print(json.dumps(row), flush=True)
                with file.open("a") as lines:
                    lines.write(json.dumps(row) + "\n")


def trainings(task: str, few: bool, size: tuple) -> list[Predictions]:
    """Returns the predictions of one config for the population, one per seed."""
    draw = np.random.default_rng(7)
    if task == "regression":
        x, y = sklearn.datasets.make_friedman1(POPULATION + 400, noise=1.0, random_state=3)
        order = np.arange(len(x))
    else:
        digits = sklearn.datasets.load_digits()
        x, y = digits.data / 16.0, digits.target
        share = 0.75**y
        order = draw.choice(len(x), POPULATION + 400, p=share / share.sum())
        y = y if task == "multiclass" else (y == (8 if task == "rare" else 3)).astype(int)
        pool = np.unique(order)[::4]  # rows for training are not in the population
        order = np.concatenate([draw.choice(pool, 400), draw.choice(np.setdiff1d(order, pool), POPULATION)])
    x, y = x[order], y[order]
    found = []
    for seed in range(SEEDS):
        rows = np.random.default_rng(seed).choice(400, 50, replace=False) if few else np.arange(300)
        kind = networks.MLPRegressor if task == "regression" else networks.MLPClassifier
        fitted = kind(
            hidden_layer_sizes=size, max_iter=150, learning_rate_init=0.01, alpha=0.01, random_state=seed
        )
        fitted.fit(x[rows], y[rows])
        logits, kind = logits_of(fitted, x[400:], task), "binary" if task == "rare" else task
        found.append(Predictions.from_logits(logits, task=kind, labels=y[400:]))
    return found


def logits_of(fitted, x: np.ndarray, task: str) -> np.ndarray:
    """Returns the outputs of a network, with low logits for classes that it has not seen."""
    if task == "regression":
        return fitted.predict(x)[:, None]
    shares = np.full((len(x), 10 if task == "multiclass" else 2), 1e-6)
    shares[:, fitted.classes_] = np.maximum(fitted.predict_proba(x), 1e-6)
    logits = np.log(shares)
    return logits if task == "multiclass" else logits[:, 1:] - logits[:, :1]


def measured(runs: list, twins: list, metric: MetricConfig, cases: int) -> dict:
    """Returns coverage, false alarms and half width of the intervals, by the number of seeds."""
    score = score_of(runs[0], metric)
    value = lambda p: score.rows(p).mean()  # noqa: E731
    truth = score.sign * (np.mean([value(p) for p in runs]) - np.mean([value(p) for p in twins]))
    smallest = score.smallest_effect(value(twins[0]))
    found = {"truth": truth, "deviation_over_seeds": float(np.std([value(p) for p in runs], ddof=1))}
    for seeds in (1, 3, 5):
        rng, covered, alarms, widths = np.random.default_rng(seeds), [], [], []
        for _ in range(cases):
            rows = rng.integers(POPULATION, size=ROWS)
            chosen = rng.choice(SEEDS, (2, seeds), replace=True)
            ours, theirs, again = (
                [score.rows(side[i].take(rows)) for i in which]
                for side, which in ((runs, chosen[0]), (twins, chosen[0]), (runs, chosen[1]))
            )
            low, high = interval(score, ours, theirs)
            covered.append(low <= truth <= high)
            widths.append((high - low) / 2)
            null = interval(score, ours, again)
            gain = score.sign * (np.mean(ours) - np.mean(again))
            alarms.append(verdict.decide(gain, null, smallest=smallest) != "no_difference")
        found[str(seeds)] = {
            "coverage": float(np.mean(covered)), "false_alarms": float(np.mean(alarms)),
            "half_width": float(np.mean(widths)),
        }  # fmt: skip
    return found


def interval(score, ours: list, theirs: list) -> tuple[float, float]:
    """Returns the interval of the verdict for the contributions of rows."""
    gains = [score.sign * (a - b) for a, b in zip(ours, theirs, strict=True)]
    return verdict.gain_interval(gains, same_rows=True, prior=score.seed_noise.variance(ours, theirs))


if __name__ == "__main__":
    main()

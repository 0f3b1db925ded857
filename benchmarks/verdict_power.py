"""False alarms and power of the verdict, before and after the crossed analysis of rows and seeds.

    python benchmarks/verdict_power.py --out=/tmp/verdict_power.jsonl

Small networks of scikit-learn learn noisy digits with 24 seeds each and predict a population of 6,000 rows.
A case draws test rows and seeds from these real predictions. A null comparison judges a config against itself
under other seeds. For the power, the twins are the same network with fewer training rows, and of these the
ones whose true gain (all rows, all seeds) is closest to 1, 2, 3 and 5 points. A run and its twin of one seed
share initial weights and training rows.

The log loss is compared as in `tlkeras.evaluation.log_loss`, at a temperature that is fitted on 100 rows for
validation (without the shift). "Either" is a verdict that tlkeras does not use: it would also say that the
transfer helped if the log loss fell and the accuracy is a point higher, even if the interval of the accuracy
contains 0. "Vague" also compares a config with itself under other seeds, but the logits of each row of the
twin are multiplied by a random number (log-normal, 1). This changes no answer and makes the log loss higher.
A verdict on the accuracy must say nothing there.

"Rest": 300 labels, the same for all seeds. "Few": 50 labels that each seed draws. "Shift": few labels, and
test digits with more noise. "Few" and "shift" are judged as unstable. "Old" is the interval up to
version 0.1, which took the whole variance between the gains of the seeds for noise of seeds.
"""

import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import sklearn.datasets
import sklearn.neural_network as networks

from tlkeras.evaluation import Predictions, fit_temperature, verdict
from tlkeras.evaluation.log_loss import SMALLEST, loss_interval, row_losses

SEEDS, POPULATION = 24, 6000
SHARES = (1.0, 0.97, 0.94, 0.91, 0.88, 0.85, 0.8, 0.75, 0.7, 0.68, 0.65, 0.62, 0.6)
GAINS = (0.01, 0.02, 0.03, 0.05)


def main():
    """Prints a line per condition, number of rows and number of seeds, and writes all of them."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    flags.add_argument("--out", required=True, help="file of JSON lines")
    flags.add_argument("--cases", type=int, default=400)
    given = flags.parse_args()
    verdict._DRAWS = 4000
    verdict._row_draws = row_draws
    warnings.simplefilter("ignore")  # the networks stop before they have converged
    for condition in ("rest", "few", "shift"):
        pools: dict = {share: answers_of(condition, share) for share in SHARES}
        pools["vague"] = answers_of(condition, 1.0, vague=1.0)
        for rows in (272, 2000):
            for seeds in (1, 3, 5):
                found = measured(pools, rows, seeds, given.cases, unstable=condition != "rest")
                line = json.dumps({"condition": condition, "rows": rows, "seeds": seeds} | found)
                print(line, flush=True)
                with Path(given.out).open("a") as lines:
                    lines.write(line + "\n")


def answers_of(condition: str, share: float, vague: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each seed is right on each row, and its log loss: two float arrays (seeds, rows)."""
    draw = np.random.default_rng(7)
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    pool = draw.permutation(len(x))
    train, test = draw.choice(pool[:500], 400, replace=False), draw.choice(pool[500:], POPULATION)
    validation = np.setdiff1d(pool[:500], train)
    noisy = lambda rows, size: x[rows] / 16 + draw.normal(0, size, (len(rows), 64))  # noqa: E731
    size = 0.4 if condition == "rest" else 0.15
    x_train, x_test = noisy(train, size), noisy(test, 0.4 if condition == "shift" else size)
    x_validation = noisy(validation, size)
    hits, losses = [], []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(400)
        rows = np.arange(round(300 * share)) if condition == "rest" else order[: round(50 * share)]
        fitted = networks.MLPClassifier(
            hidden_layer_sizes=(64,), max_iter=80, learning_rate_init=0.01, alpha=0.01, random_state=seed
        )
        fitted.fit(x_train[rows], y[train[rows]])
        found, known = (
            predictions(fitted, pictures, labels, seed, vague)
            for pictures, labels in ((x_test, y[test]), (x_validation, y[validation]))
        )
        hits.append(found.predicted == found.labels)
        losses.append(row_losses(found, fit_temperature(known)))
    return np.array(hits, float), np.array(losses)


def predictions(network, x: np.ndarray, labels: np.ndarray, seed: int, vague: float) -> Predictions:
    """Returns the predictions of a network, with a millionth for digits that it has not seen."""
    shares = np.full((len(x), 10), 1e-6)
    shares[:, network.classes_] = np.maximum(network.predict_proba(x), 1e-6)
    factors = np.random.default_rng(seed).lognormal(0, vague, (len(x), 1))
    return Predictions.from_logits(np.log(shares) * factors, task="multiclass", labels=labels)


def measured(pools: dict, rows: int, seeds: int, cases: int, *, unstable: bool) -> dict:
    """Returns false alarms, coverage and power, of the old and new interval, the log loss and either."""
    base = pools[1.0]
    truths = {share: float(base[0].mean() - hits.mean()) for share, (hits, _) in pools.items()}
    found = {"accuracy": round(float(base[0].mean()), 3)}
    gains = {share: truth for share, truth in truths.items() if share != "vague"}
    chosen = {"null": 1.0, "vague": "vague"} | {f"{100 * gain:.0f}": nearest(gains, gain) for gain in GAINS}
    for name, share in chosen.items():
        rng, seen, covered, widths = np.random.default_rng(seeds), [], [], []
        for _ in range(cases):
            at = rng.integers(POPULATION, size=rows)
            ours = rng.choice(SEEDS, seeds, replace=False)
            theirs = rng.choice(np.setdiff1d(np.arange(SEEDS), ours), seeds, replace=False)
            theirs = theirs if name in ("null", "vague") else ours  # twins share their seeds
            hits, losses = ([base[k][ours][:, at], pools[share][k][theirs][:, at]] for k in (0, 1))
            intervals = {way: of(*hits, unstable) for way, of in WAYS.items()}
            seen.append(claims(hits, losses, intervals, unstable))
            covered.append({w: intervals[w][0] <= truths[share] <= intervals[w][1] for w in WAYS})
            widths.append({w: (intervals[w][1] - intervals[w][0]) / 2 for w in WAYS})
        fall = float(pools[share][1].mean() - base[1].mean())
        found[name] = {"truth": round(truths[share], 4), "fall_of_loss": round(fall, 4)} | {
            way: round(100 * float(np.mean([case[way] for case in seen])), 1) for way in seen[0]
        }
        found[name]["coverage"] = {w: round(100 * np.mean([c[w] for c in covered]), 1) for w in WAYS}
        found[name]["half_width"] = {w: round(100 * np.mean([c[w] for c in widths]), 2) for w in WAYS}
    return found


def claims(hits: list, losses: list, intervals: dict, unstable: bool) -> dict[str, bool]:
    """Returns which ways claim a difference in one case."""
    gain, fall = float(hits[0].mean() - hits[1].mean()), float(losses[1].mean() - losses[0].mean())
    said = {way: verdict.decide(gain, interval) for way, interval in intervals.items()}
    of_loss = loss_interval(list(losses[0]), list(losses[1]), unstable=unstable)
    said["log loss"] = verdict.decide(fall, of_loss, smallest=SMALLEST * losses[1].mean())
    together = {"helped": gain >= verdict.MIN_EFFECT, "hurt": gain <= -verdict.MIN_EFFECT}
    agreed = together.get(said["log loss"], False)
    said["either"] = said["log loss"] if said["new"] == "no_difference" and agreed else said["new"]
    return {way: word != "no_difference" for way, word in said.items()}


def row_draws(values: np.ndarray, rng) -> np.ndarray:
    """Returns normal draws of the mean over rows, which take less time than the bootstrap of the verdict."""
    return rng.normal(values.mean(), values.std() / np.sqrt(len(values)), verdict._DRAWS)


def nearest(truths: dict, gain: float) -> float:
    """Returns the key whose true gain is closest."""
    return min(truths, key=lambda share: abs(truths[share] - gain))


def old(ours: np.ndarray, theirs: np.ndarray, unstable: bool) -> tuple[float, float]:
    """Returns the interval up to version 0.1, which counts the noise of the rows twice."""
    differences, (seeds, _) = ours - theirs, ours.shape
    rng = np.random.default_rng(0)
    gains = verdict._row_draws(differences.mean(axis=0), rng)
    prior = 0.002 * float((differences**2).mean())
    between = float(np.var(differences.mean(axis=1), ddof=1)) if seeds > 1 else 0.0
    return spread(gains, prior, between, seeds, rng)


def spread(gains, prior: float, between: float, seeds: int, rng) -> tuple[float, float]:
    """Returns the 99 % interval of the draws of the rows with a term for the seeds."""
    degrees = 4 + seeds - 1
    variance = (4 * prior + (seeds - 1) * between) / degrees
    gains = gains + rng.standard_t(degrees, len(gains)) * np.sqrt(variance / seeds)
    low, high = np.quantile(gains, [0.005, 0.995])
    return float(low), float(high)


def new(ours: np.ndarray, theirs: np.ndarray, unstable: bool) -> tuple[float, float]:
    """Returns the interval of today's verdict."""
    differences = ours - theirs
    prior = 0.002 * float((differences**2).mean()) * (verdict.UNSTABLE if unstable else 1)
    return verdict.gain_interval(list(differences), same_rows=True, prior=prior)


WAYS = {"old": old, "new": new}

if __name__ == "__main__":
    main()

"""False alarms and power of the verdict, before and after the crossed analysis of rows and seeds.

    python benchmarks/verdict_power.py --out=/tmp/verdict_power.jsonl

Small networks of scikit-learn learn noisy digits with 24 seeds each and predict a population of 6,000 rows.
A case draws test rows and seeds from these real predictions. A null comparison judges a config against itself
under other seeds. For the power, the twins are the same network with fewer training rows, and of these the
ones whose true gain (all rows, all seeds) is closest to 1, 2, 3 and 5 points. A run and its twin of one seed
share initial weights and training rows.

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

from tlkeras.evaluation import verdict

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
        pools = {share: hits_of(condition, share) for share in SHARES}
        for rows in (272, 2000):
            for seeds in (1, 3, 5):
                found = measured(pools, rows, seeds, given.cases, unstable=condition != "rest")
                line = json.dumps({"condition": condition, "rows": rows, "seeds": seeds} | found)
                print(line, flush=True)
                with Path(given.out).open("a") as lines:
                    lines.write(line + "\n")


def hits_of(condition: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns whether each seed is right on each row, and its log loss: two float arrays (seeds, rows)."""
    draw = np.random.default_rng(7)
    x, y = sklearn.datasets.load_digits(return_X_y=True)
    pool = draw.permutation(len(x))
    train, test = draw.choice(pool[:500], 400, replace=False), draw.choice(pool[500:], POPULATION)
    noisy = lambda rows, size: x[rows] / 16 + draw.normal(0, size, (len(rows), 64))  # noqa: E731
    size = 0.4 if condition == "rest" else 0.15
    x_train, x_test = noisy(train, size), noisy(test, 0.4 if condition == "shift" else size)
    hits, losses = [], []
    for seed in range(SEEDS):
        order = np.random.default_rng(seed).permutation(400)
        rows = np.arange(round(300 * share)) if condition == "rest" else order[: round(50 * share)]
        fitted = networks.MLPClassifier(
            hidden_layer_sizes=(64,), max_iter=80, learning_rate_init=0.01, alpha=0.01, random_state=seed
        )
        fitted.fit(x_train[rows], y[train[rows]])
        shares = np.full((POPULATION, 10), 1e-6)
        shares[:, fitted.classes_] = np.maximum(fitted.predict_proba(x_test), 1e-6)
        hits.append(shares.argmax(axis=1) == y[test])
        losses.append(best_loss(np.log(shares), y[test]))
    return np.array(hits, float), np.array(losses)


def best_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Returns the log loss of each row at the best temperature of a grid."""
    found = []
    for temperature in np.geomspace(0.3, 10, 25):
        scaled = logits / temperature
        total = np.log(np.exp(scaled - scaled.max(axis=1, keepdims=True)).sum(axis=1)) + scaled.max(axis=1)
        found.append(total - scaled[np.arange(len(labels)), labels])
    return min(found, key=np.mean)


def measured(pools: dict, rows: int, seeds: int, cases: int, *, unstable: bool) -> dict:
    """Returns false alarms, coverage and power, of the old interval, the new one, and of the log loss."""
    base = pools[1.0]
    truths = {share: float(base[0].mean() - hits[0].mean()) for share, hits in pools.items()}
    found = {"accuracy": round(float(base[0].mean()), 3)}
    chosen = {"null": 1.0} | {f"{100 * gain:.0f}": nearest(truths, gain) for gain in GAINS}
    for name, share in chosen.items():
        rng, seen, covered, widths = np.random.default_rng(seeds), [], [], []
        for _ in range(cases):
            at = rng.integers(POPULATION, size=rows)
            ours = rng.choice(SEEDS, seeds, replace=False)
            theirs = rng.choice(np.setdiff1d(np.arange(SEEDS), ours), seeds, replace=False)
            theirs = theirs if name == "null" else ours  # twins share their seeds
            sides = [[base[k][ours][:, at], pools[share][k][theirs][:, at]] for k in (0, 1)]
            intervals = {way: of(*sides[0], unstable) for way, of in WAYS.items()}
            intervals["log loss"] = new(*sides[1][::-1], unstable, factor=0.005)
            gain = float(sides[0][0].mean() - sides[0][1].mean())
            seen.append(
                {
                    way: verdict.decide(gain if way != "log loss" else np.sign(sum(interval)), interval)
                    != "no_difference"
                    for way, interval in intervals.items()
                }
            )
            covered.append({w: intervals[w][0] <= truths[share] <= intervals[w][1] for w in WAYS})
            widths.append({w: (intervals[w][1] - intervals[w][0]) / 2 for w in WAYS})
        found[name] = {"truth": round(truths[share], 4)} | {
            way: round(100 * float(np.mean([case[way] for case in seen])), 1) for way in seen[0]
        }
        found[name]["coverage"] = {w: round(100 * np.mean([c[w] for c in covered]), 1) for w in WAYS}
        found[name]["half_width"] = {w: round(100 * np.mean([c[w] for c in widths]), 2) for w in WAYS}
    return found


def row_draws(values: np.ndarray, rng) -> np.ndarray:
    """Returns normal draws of the mean over rows, which take less time than the bootstrap of the verdict."""
    return rng.normal(values.mean(), values.std() / np.sqrt(len(values)), verdict._DRAWS)


def nearest(truths: dict[float, float], gain: float) -> float:
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


def new(ours: np.ndarray, theirs: np.ndarray, unstable: bool, factor: float = 0.002) -> tuple[float, float]:
    """Returns the interval of today's verdict."""
    differences = ours - theirs
    prior = factor * float((differences**2).mean()) * (verdict.UNSTABLE if unstable else 1)
    return verdict.gain_interval(list(differences), same_rows=True, prior=prior)


WAYS = {"old": old, "new": new}

if __name__ == "__main__":
    main()

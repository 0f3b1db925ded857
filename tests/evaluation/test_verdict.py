"""The verdict: interval, coverage, false alarms, broken twins, words."""

import json

import numpy as np
import pytest

from tlkeras.evaluation import Predictions, judge
from tlkeras.evaluation.verdict import decide, gain_interval, variance_between_seeds

LABELS = np.arange(1000) % 4


def scored(accuracy, *, seed=0, labels=LABELS, ids=None):
    """Predictions right on a random share of the rows."""
    wrong = np.random.default_rng(seed).random(len(labels)) >= accuracy
    answers = np.where(wrong, (labels + 1) % 4, labels)
    return Predictions.from_logits(np.eye(4)[answers], task="multiclass", labels=labels, ids=ids)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("run", "twin", "verdict"),
    [(0.85, 0.6, "helped"), (0.6, 0.85, "hurt"), (0.7, 0.705, "no_difference")],
)
def test_verdicts(run, twin, verdict, seeds):
    runs = [scored(run, seed=seed) for seed in range(seeds)]
    twins = [scored(twin, seed=100 + seed) for seed in range(seeds)]
    got = judge(runs, twins, twin_name="source only")
    assert got.verdict == verdict and got.seeds == seeds and got.rows == 1000
    assert got.interval[0] < got.gain < got.interval[1]
    expected = np.mean([r.predicted == LABELS for r in runs]) - np.mean(
        [t.predicted == LABELS for t in twins]
    )
    assert got.gain == pytest.approx(expected)
    content = json.loads(json.dumps(got.to_json(), allow_nan=False))
    assert content["verdict"] == verdict and len(content["interval"]) == 2
    assert "source only" in got.sentence and "\n" not in got.sentence
    assert ("negative transfer" in got.sentence) == (verdict == "hurt")
    assert ("between seeds" in got.sentence) == (seeds == 1 and verdict != "no_difference")


def test_small_effects_are_no_difference_however_certain():
    assert decide(0.009, (0.008, 0.0095)) == "no_difference"
    assert decide(-0.009, (-0.0095, -0.008)) == "no_difference"
    assert decide(0.02, (0.001, 0.05)) == "helped"
    assert decide(0.02, (-0.001, 0.05)) == "no_difference"
    assert decide(-0.02, (-0.05, -0.001)) == "hurt"


def test_the_same_answers_are_no_difference():
    got = judge(scored(0.7), scored(0.7))
    assert got.verdict == "no_difference" and got.gain == 0 and got.interval == (0, 0)
    assert "more certain" not in got.sentence


def test_a_twin_at_the_majority_class_is_broken_and_no_gain():
    constant = Predictions.from_logits(np.tile([1.0, 0, 0, 0], (1000, 1)), task="multiclass", labels=LABELS)
    got = judge(scored(0.9), constant)
    assert got.broken_twin and got.verdict == "no_difference" and got.gain > 0.6
    assert got.majority == 0.25 and got.sentence.startswith("Broken twin")
    # Worse than a broken twin is still worse.
    assert judge(scored(0.02), constant).verdict == "hurt"
    assert not judge(scored(0.9), scored(0.4)).broken_twin


def test_rows_are_matched_by_name():
    order = np.random.default_rng(0).permutation(1000)
    run, twin = scored(0.8), scored(0.7, seed=1)
    shuffled = judge(run, twin.take(order))
    assert shuffled.gain == judge(run, twin).gain and shuffled.interval == judge(run, twin).interval
    with pytest.raises(ValueError, match="same test rows"):
        judge(run, scored(0.7, ids=[f"other:{i}" for i in range(1000)]))
    with pytest.raises(ValueError, match="1 runs, 2 twins"):
        judge([run], [twin, twin])


def test_seeds_with_rows_of_their_own():
    runs, twins = [], []
    for seed in range(3):
        ids = [f"{seed}:{row}" for row in range(1000)]
        runs.append(scored(0.85, seed=seed, ids=ids))
        twins.append(scored(0.6, seed=50 + seed, ids=ids))
    got = judge(runs, twins)
    assert got.verdict == "helped" and got.rows == 3000


def test_a_fall_of_information_maximisation_warns():
    pair = scored(0.8), scored(0.7, seed=1)
    assert judge(*pair).warning is None
    assert judge(*pair, information_maximization=(1.5, 1.2)).warning is None
    warning = judge(*pair, information_maximization=(1.1, 1.2)).warning
    assert "1.100" in warning and "negative transfer" in warning


def test_regression_and_multilabel():
    rng = np.random.default_rng(0)
    labels = rng.normal(size=600)
    near, far = labels + 0.2 * rng.normal(size=600), labels + 0.8 * rng.normal(size=600)
    near, far, mean = (
        Predictions.from_logits(values, task="regression", labels=labels)
        for values in (near, far, np.full(600, labels.mean()))
    )
    got = judge(near, far)
    r2 = [1 - np.var(p.logits[:, 0] - labels) / np.var(labels) for p in (near, far)]
    assert got.verdict == "helped" and got.metric == "r2"
    assert got.gain == pytest.approx(r2[0] - r2[1], abs=0.005)
    assert judge(near, mean).broken_twin
    truth = rng.random((400, 3)) < 0.5
    noise = [np.where(rng.random((400, 3)) < share, ~truth, truth) for share in (0.1, 0.4)]
    run, twin = (Predictions.from_logits(n * 2.0 - 1, task="multilabel", labels=truth) for n in noise)
    assert judge(run, twin).verdict == "helped" and judge(twin, run).verdict == "hurt"


def test_rows_part_is_the_bootstrap():
    """Without a seed term the interval is the normal one of the mean, at this size."""
    difference = np.random.default_rng(0).choice([-1.0, 0, 1], size=2000, p=[0.1, 0.7, 0.2])
    low, high = gain_interval([difference], same_rows=True, prior=0.0)
    half = 2.576 * difference.std() / np.sqrt(2000)
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (high + low) / 2 == pytest.approx(difference.mean(), abs=0.002)
    # many distinct values take the other way and give the same
    jittered = difference + 1e-9 * np.arange(2000)
    assert gain_interval([jittered], same_rows=True, prior=0.0) == pytest.approx((low, high), abs=0.003)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("spread", [0.0, 0.015])
def test_interval_covers_and_equal_configs_are_no_difference(seeds, spread):
    """Nets of one config: each row has its own chance, each training shifts all of them a little."""
    rng = np.random.default_rng(0)
    rows, trials, covered, alarms = 800, 60, 0, 0

    def train(chance):
        return (rng.random(rows) < np.clip(chance + spread * rng.normal(), 0, 1)).astype(float)

    for _ in range(trials):
        chance = rng.beta(4, 1.5, size=rows)
        differences = [train(chance) - train(chance) for _ in range(seeds)]
        interval = gain_interval(differences, same_rows=True)
        covered += interval[0] <= 0 <= interval[1]
        alarms += decide(np.mean(differences), interval) != "no_difference"
    assert covered >= 58 and alarms <= 2


def test_a_real_gain_is_found_with_three_seeds():
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        chance = rng.beta(4, 1.5, size=1500)
        pairs = [
            (rng.random(1500) < np.clip(chance + 0.06, 0, 1)).astype(float) - (rng.random(1500) < chance)
            for _ in range(3)
        ]
        found += decide(np.mean(pairs), gain_interval(pairs, same_rows=True)) == "helped"
    assert found >= 14


def crossed(spread, *, seeds=3, rows=4000, seed=0):
    """Differences of nets whose gain varies over seeds by `spread`, on the same rows."""
    rng = np.random.default_rng(seed)
    of_rows, of_seeds = rng.normal(0, 0.3, rows), rng.normal(0, spread, seeds)
    return [of_rows + shift + rng.normal(0, 0.5, rows) for shift in of_seeds]


def test_variance_between_seeds_is_free_of_the_noise_of_the_rows():
    """The crossed estimate is right on average. The plain variance of the gains is not."""
    for spread in (0.0, 0.02):
        cases = [crossed(spread, rows=400, seed=seed) for seed in range(300)]
        noise = 0.5**2 / 400
        plain = np.mean([np.var([d.mean() for d in case], ddof=1) for case in cases])
        assert plain == pytest.approx(spread**2 + noise, rel=0.2)
        exact = [variance_between_seeds(case, same_rows=True) for case in cases]
        assert min(exact) >= 0
        assert np.mean(exact) == pytest.approx(spread**2, rel=0.25, abs=0.5 * noise)


def test_variance_between_seeds_on_rows_of_their_own():
    rng = np.random.default_rng(0)
    cases = [[rng.normal(0, 0.5, 400) + rng.normal(0, 0.05) for _ in range(3)] for _ in range(300)]
    found = np.mean([variance_between_seeds(case, same_rows=False) for case in cases])
    assert found == pytest.approx(0.05**2, rel=0.2)
    assert variance_between_seeds(cases[0][:1], same_rows=False) == 0.0


def test_under_shift_or_with_few_labels_the_interval_is_wider():
    pair = scored(0.8), scored(0.7, seed=1)
    rest, unstable = judge(*pair), judge(*pair, unstable=True)
    assert rest.gain == unstable.gain
    assert np.diff(unstable.interval)[0] > 1.3 * np.diff(rest.interval)[0]

"""The log loss beside a verdict: what it sees, what it must not count, and its words."""

import json

import numpy as np
import pytest
from sklearn.metrics import log_loss

from tlkeras.evaluation import Predictions, fit_temperature, judge
from tlkeras.evaluation.log_loss import FLOOR, row_losses, with_log_loss

LABELS = np.arange(600) % 4


def noisy(signal, *, seed=0, sharpness=1.0, labels=LABELS, ids=None):
    """Predictions whose logits are those of a right answer of size `signal` in noise of size 1."""
    noise = np.random.default_rng(seed).normal(size=(len(labels), 4))
    logits = sharpness * (signal * np.eye(4)[labels] + noise)
    return Predictions.from_logits(logits, task="multiclass", labels=labels, ids=ids)


def beside(run, twin, temperatures=None, **words):
    runs, twins = ([side] if isinstance(side, Predictions) else side for side in (run, twin))
    found = temperatures or [
        (fit_temperature(r), fit_temperature(t)) for r, t in zip(runs, twins, strict=True)
    ]
    return with_log_loss(judge(runs, twins), runs, twins, found, **words)


def test_losses_are_the_log_loss():
    found = noisy(1.0)
    expected = log_loss(LABELS, found.probabilities)
    assert row_losses(found, 1.0).mean() == pytest.approx(expected, rel=1e-9)
    assert row_losses(found, 2.0).mean() == pytest.approx(
        log_loss(LABELS, found.at_temperature(2.0).probabilities), rel=1e-9
    )
    two = Predictions.from_logits(np.linspace(-2, 2, 9), task="binary", labels=np.arange(9) % 2)
    assert row_losses(two, 1.0).mean() == pytest.approx(log_loss(two.labels, two.probabilities))
    truth = np.random.default_rng(0).random((50, 3)) < 0.5
    many = Predictions.from_logits(truth - 0.5, task="multilabel", labels=truth)
    assert row_losses(many, 1.0) == pytest.approx(np.full(50, -np.log(1 / (1 + np.exp(-0.5)))))


def test_a_sentence_says_on_which_rows_probabilities_are_calibrated():
    run, twin = noisy(3.0), noisy(1.0, seed=1)
    assert "calibrated" not in beside(run, twin).log_loss["sentence"]
    assert "calibrated on the source" in beside(run, twin, of_source=True).log_loss["sentence"]
    raw = beside(run, twin, [(None, 1.0)], of_source=True).log_loss["sentence"]
    assert "are not calibrated" in raw and "source" not in raw


def test_better_probabilities_with_the_same_answers_are_seen_and_change_no_verdict():
    """Wrong answers of the run are less certain than those of the twin."""
    run, labels = noisy(1.0), LABELS
    wrong = run.predicted != labels
    logits = np.where(wrong[:, None], 3.0, 1.0) * run.logits
    twin = Predictions.from_logits(logits, task="multiclass", labels=labels)
    found = beside(run, twin)
    assert found.verdict == "no_difference" and found.gain == 0 and found.log_loss["verdict"] == "fell"
    assert found.log_loss["interval"][0] > 0 and found.log_loss["calibrated"]
    losses = [row_losses(side, fit_temperature(side)).mean() for side in (run, twin)]
    assert found.log_loss["gain"] == pytest.approx(losses[1] - losses[0])
    assert "does not show a better accuracy" in found.log_loss["sentence"]
    assert "rose" in beside(twin, run).log_loss["sentence"]
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["log_loss"] == found.log_loss


def test_it_says_also_if_the_accuracy_changed_with_it():
    better, worse = noisy(2.5), noisy(1.0)
    assert beside(better, worse).log_loss["sentence"].startswith("The log loss also fell: ")
    assert beside(worse, better).log_loss["sentence"].startswith("The log loss also rose: ")
    crossed = with_log_loss(judge(better, worse), [worse], [better], [(1.0, 1.0)])
    assert crossed.log_loss["sentence"].startswith("But the log loss rose: ")


def test_over_confidence_alone_decides_only_without_calibration():
    run, twin = noisy(1.0, sharpness=6.0), noisy(1.0)
    calibrated = beside(run, twin).log_loss
    assert calibrated["verdict"] == "no_difference" and abs(calibrated["gain"]) < 0.01
    raw = beside(run, twin, [(None, 1.0)]).log_loss
    assert raw["verdict"] == "rose" and not raw["calibrated"] and "not calibrated" in raw["sentence"]


def test_a_single_row_cannot_decide():
    run = noisy(1.0)
    logits = run.logits.copy()
    logits[0] = [-1e4, 0, 0, 0]  # its label is 0
    hopeless = Predictions.from_logits(logits, task="multiclass", labels=LABELS)
    assert row_losses(hopeless, 1.0)[0] == pytest.approx(np.log(4 / FLOOR))
    assert beside(hopeless, run, [(1.0, 1.0)]).log_loss["verdict"] == "no_difference"


def test_rows_are_matched_by_name_and_other_rows_of_each_seed_are_allowed():
    order = np.random.default_rng(0).permutation(600)
    run, twin = noisy(1.2), noisy(1.0, seed=1)
    assert beside(run, twin.take(order), [(1, 1)]).log_loss == beside(run, twin, [(1, 1)]).log_loss
    ids = [[f"{seed}:{row}" for row in range(600)] for seed in range(3)]
    runs, twins = ([noisy(s, seed=seed, ids=ids[seed]) for seed in range(3)] for s in (2.0, 1.0))
    assert beside(runs, twins).log_loss["verdict"] == "fell"


def test_few_labels_and_a_shift_make_the_interval_wider():
    sides = [noisy(1.2, seed=s) for s in range(3)], [noisy(1.0, seed=s) for s in range(3)]
    widths = [np.ptp(beside(*sides, unstable=unstable).log_loss["interval"]) for unstable in (False, True)]
    assert widths[1] > 1.3 * widths[0]


def test_nothing_is_compared_without_probabilities_or_against_a_broken_twin():
    values = np.random.default_rng(0).normal(size=100)
    near = Predictions.from_logits(values + 0.1, task="regression", labels=values)
    assert beside(near, near, [(1.0, 1.0)]).log_loss is None
    constant = Predictions.from_logits(np.tile([1.0, 0, 0, 0], (600, 1)), task="multiclass", labels=LABELS)
    assert beside(noisy(2.0), constant, [(1.0, 1.0)]).log_loss is None
    endless = noisy(1.0)
    endless.logits[3, 2] = np.inf
    assert beside(noisy(2.0), endless, [(1.0, 1.0)]).log_loss is None

"""Comparison of runs: paired tests on shared rows, adjusted p-values, what differs."""

import json

import numpy as np
import pytest

from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.evaluation.intervals import score_interval
from tlkeras.report import compare_runs, write_comparison
from tlkeras.report.paired_test import holm, mcnemar, pair
from tlkeras.run_dir import RunDir


def predictions(right, ids=None):
    """Binary predictions of label 1 that are right where `right` says so."""
    right = np.asarray(right)
    return Predictions.from_logits(
        np.where(right, 2.0, -2.0)[:, None], task="binary", labels=np.ones(len(right), int), ids=ids
    )


def paired(ours, theirs, domain="source"):
    """The comparison of two runs without temperatures and training rows."""
    return pair(ours, theirs, (RunDir("ours"), RunDir("theirs")), domain)


def test_mcnemar_is_the_exact_binomial_test():
    ours = [True] * 8 + [False] * 2 + [True] * 10
    theirs = [False] * 8 + [True] * 2 + [True] * 10
    # 8 against 2: twice the chance of at most 2 of 10 heads
    assert mcnemar(predictions(ours), predictions(theirs)) == pytest.approx(2 * (1 + 10 + 45) / 1024)
    assert mcnemar(predictions(ours), predictions(ours)) == 1.0


def test_holm_adjusts_from_the_smallest():
    assert holm([0.04, None, 0.01, 0.03]) == pytest.approx([0.06, None, 0.03, 0.06], nan_ok=True)


def test_pairs_are_matched_by_id_and_need_the_same_labels():
    ours = predictions([True, False, True, True], ids=["a", "b", "c", "d"])
    theirs = predictions([True, False, False], ids=["d", "c", "b"])
    found = paired(ours, theirs)
    assert found.rows == 3 and found.gain == pytest.approx((2 - 1) / 3)
    other = Predictions.from_logits(np.ones((3, 1)), task="binary", labels=[0, 1, 1], ids=["d", "c", "b"])
    assert paired(ours, other) is None
    assert paired(ours, predictions([True], ids=["elsewhere"])) is None


def test_a_pair_on_another_domain_or_with_few_labels_has_a_wider_interval(trained, run_copy):
    ours, theirs = predictions(np.arange(400) % 4 > 0), predictions(np.arange(400) % 3 > 0)
    path = run_copy / "evaluation/predictions_train.npz"
    training = Predictions.load(path)
    training.take(np.arange(99)).save(path)
    widths = [
        np.ptp(pair(ours, theirs, (RunDir(folder), RunDir(folder)), domain).interval)
        for folder, domain in ((trained, "source"), (trained, "target"), (run_copy, "source"))
    ]
    assert widths[1] == widths[2] > 1.2 * widths[0]


def test_the_interval_of_a_score_covers_as_the_normal_one_does():
    score, low, high = score_interval(predictions(np.arange(400) % 4 > 0))
    assert score == 0.75
    width = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - width, abs=0.006) and high == pytest.approx(0.75 + width, abs=0.006)


def test_a_worse_run_is_called_worse(trained, run_copy):
    path = run_copy / "evaluation/predictions_test.npz"
    good = Predictions.load(path)
    always_the_first = np.tile(np.eye(4)[0] * 9, (len(good), 1))
    Predictions.from_logits(
        always_the_first, task="multiclass", labels=good.labels, ids=good.ids, class_names=good.class_names
    ).save(path)
    first, second = compare_runs([trained, run_copy])
    assert first["gain"] is None and first["p"] is None
    assert second["gain"] == pytest.approx(second["score"] - first["score"])
    assert second["verdict"] == "worse" and second["p"] < 1e-6
    assert second["gain_low"] < second["gain"] < second["gain_high"] < 0
    assert first["log_loss"] is None and second["log_loss"] == "higher"
    path = run_copy / "evaluation/calibration.json"  # other probabilities, made equal by their temperature
    sharpness = 0.1
    Predictions.from_logits(
        sharpness * good.logits,
        task="multiclass",
        labels=good.labels,
        ids=good.ids,
        class_names=good.class_names,
    ).save(run_copy / "evaluation/predictions_test.npz")
    assert compare_runs([trained, run_copy])[1]["log_loss"] == "higher"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"temperature": sharpness * facts["temperature"]}))
    assert compare_runs([trained, run_copy])[1]["log_loss"] == "no difference"


def test_the_page_names_what_differs(trained, run_copy, tmp_path, capsys):
    config = json.loads((run_copy / "config.json").read_text())
    config["stages"][0]["epochs"] = 77
    config["name"] = "<b>other</b>"
    (run_copy / "config.json").write_text(json.dumps(config))
    page = tmp_path / "page.html"
    assert main(["compare", str(trained), str(run_copy), f"--output={page}"]) == 0
    text = page.read_text()
    assert ">stages.0.epochs<" in text and ">77<" in text and "<b>" not in text
    printed = capsys.readouterr().out
    assert "smoke" in printed and "copy" in printed and printed.count("no difference") == 2
    assert ">log loss<" in text and 'data-value="no difference"' in text
    write_comparison([run_copy.parent], page)  # a folder of runs
    assert ">copy<" in page.read_text()


def test_what_is_no_run_is_refused(tmp_path, trained):
    with pytest.raises(UserError, match="is not a run directory"):
        compare_runs([trained, tmp_path])
    assert main(["compare"]) == 2

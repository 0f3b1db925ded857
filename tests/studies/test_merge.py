"""One model of several runs: what its weights and answers are, and which runs cannot be merged."""

import json

import numpy as np
import pytest

from tlkeras import load_config, load_run, run_experiment
from tlkeras.cli.main import main
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.models.probabilities import softmax
from tlkeras.studies.merge import LINE, mean_weights, merge_runs

pytestmark = pytest.mark.usefixtures("without_reports")

CONFIG = {
    "name": "digits",
    "data": {"source": "digits", "image_size": 8, "limit": 300},
    "model": {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [8]}},
    "stages": [{"name": "all", "train": "all", "bn": "train", "epochs": 4}],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs from the same start that end apart, and one that has learned nothing."""
    folder = tmp_path_factory.mktemp("merge")
    rates = {"fast": 0.02, "slow": 0.01, "idle": 1e-7}
    for name, rate in rates.items():
        run_experiment(load_config(CONFIG, [f"stages.0.optimizer.learning_rate={rate}"]), folder / name)
    return {name: folder / name for name in rates}


def weights(path):
    return load_run(path).model.get_weights()


def validation_score(path):
    return load_run(path).metrics["source"]["val"]["accuracy"]


def calibrated_loss(path):
    """The log loss on the test rows of the probabilities that `predict` gives, each at least .001."""
    found = Predictions.load(path / "evaluation/predictions_test.npz").at_temperature(
        load_run(path).temperature
    )
    right = found.probabilities[np.arange(len(found)), found.labels]
    return -np.log(np.maximum(right, 0.001)).mean()


def test_a_uniform_soup_has_the_mean_of_the_weights(runs, tmp_path, caplog):
    soup = merge_runs([runs["fast"], runs["slow"]], tmp_path / "soup", "uniform")
    fast, slow = weights(runs["fast"]), weights(runs["slow"])
    for mean, one, other in zip(soup.model.get_weights(), fast, slow, strict=True):
        np.testing.assert_allclose(mean, (one.astype(np.float64) + other) / 2, rtol=1e-6, atol=1e-9)
    assert soup.evaluate() == soup.metrics
    verdict = json.loads((soup.path / "evaluation/verdict.json").read_text())
    assert verdict["run"] == pytest.approx(soup.metrics["source"]["test"]["accuracy"])
    assert verdict["log_loss"]["calibrated"] and verdict["log_loss"]["sentence"] in caplog.text
    assert verdict["log_loss"]["run"] == pytest.approx(calibrated_loss(soup.path))
    best = max(("fast", "slow"), key=lambda name: validation_score(runs[name]))
    assert verdict["log_loss"]["twin"] == pytest.approx(calibrated_loss(runs[best]))
    assert "best single run" in (soup.path / "report.html").read_text("utf-8")


def test_a_greedy_soup_leaves_out_what_lowers_the_validation_score(runs, tmp_path):
    soup = merge_runs([runs["idle"], runs["fast"], runs["slow"]], tmp_path / "soup")
    members = json.loads((soup.path / "merge.json").read_text())["members"]
    assert str(runs["idle"]) not in members
    assert validation_score(soup.path) >= max(map(validation_score, runs.values()))
    expected = mean_weights([weights(path) for path in members])
    for one, other in zip(soup.model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_line_begins_and_ends_at_the_runs(runs, tmp_path):
    line = merge_runs([runs["idle"], runs["fast"]], tmp_path / "line", "line")
    found = json.loads((line.path / "merge.json").read_text())
    assert [point["share"] for point in found["curve"]] == list(LINE)
    for point, name in ((found["curve"][0], "idle"), (found["curve"][-1], "fast")):
        metrics = load_run(runs[name]).metrics["source"]
        assert point["val"] == pytest.approx(metrics["val"]["accuracy"])
        assert point["source test"] == pytest.approx(metrics["test"]["accuracy"])
    assert validation_score(line.path) == pytest.approx(max(point["val"] for point in found["curve"]))


def test_an_ensemble_answers_with_the_mean_of_the_probabilities(runs, tmp_path):
    members = [runs["fast"], runs["slow"], runs["idle"]]
    ensemble = merge_runs(members, tmp_path / "ensemble", "ensemble")
    x = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3)).astype(np.uint8)
    answers = lambda path: softmax(load_run(path).model.predict(x.astype("float32"), verbose=0))  # noqa: E731
    expected = np.mean([answers(path) for path in members], axis=0)
    np.testing.assert_allclose(answers(ensemble.path), expected, atol=1e-6)


def test_what_cannot_be_merged_is_refused_and_nothing_is_written(runs, tmp_path, capsys):
    other = ["stages.0.epochs=1", "model.backbone_options.filters=[4]"]
    run_experiment(load_config(CONFIG, other), tmp_path / "narrow")
    run_experiment(load_config(CONFIG, ["stages.0.epochs=1", "seed=1"]), tmp_path / "other_rows")
    for paths, how, message in (
        ([runs["fast"], tmp_path / "narrow"], "greedy", r"same architecture.*\(3, 3, 3, 4\)"),
        ([runs["fast"], tmp_path / "other_rows"], "greedy", "same data and splits can be merged"),
        ([runs["fast"]], "greedy", "needs at least two runs. Received: 1"),
        ([*runs.values()], "line", "line needs two runs. Received: 3"),
        ([*runs.values()], "greedi", "Did you mean 'greedy'"),
    ):
        with pytest.raises(UserError, match=message):
            merge_runs(paths, tmp_path / "merged", how)
    assert not (tmp_path / "merged").exists()
    with pytest.raises(UserError, match="needs a new workdir"):
        merge_runs([runs["fast"], runs["slow"]], runs["fast"])
    assert main(["merge", str(runs["fast"]), str(runs["slow"])]) == 2
    assert "--workdir is missing" in capsys.readouterr().err


def test_a_merged_run_cannot_be_reproduced(runs, tmp_path, capsys):
    merge_runs([runs["fast"], runs["slow"]], tmp_path / "soup", "uniform")
    assert main(["reproduce", str(tmp_path / "soup")]) == 2
    assert "merged from others" in capsys.readouterr().err

import json

import numpy as np
import pytest

from tlkeras import run_experiment
from tlkeras.config import ExperimentConfig, apply_overrides
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.studies.folds import combined, t_interval


def _experiment(**data) -> ExperimentConfig:
    return ExperimentConfig(
        name="folded",
        data={"source": "digits", "image_size": 8, "limit": 90, **data},
        model={"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4]}},
        stages=[{"name": "all", "train": "all", "epochs": 1}],
    )


@pytest.fixture(scope="module")
def folded(tmp_path_factory):
    return run_experiment(_experiment(folds=3), tmp_path_factory.mktemp("folds") / "run")


def test_every_row_is_held_out_once(folded):
    ids = [Predictions.load(f.path / "evaluation" / "predictions_test.npz").ids for f in folded.runs.values()]
    assert [fold.path.name for fold in folded.runs.values()] == ["fold_0", "fold_1", "fold_2"]
    together = np.concatenate(ids)
    assert len(set(together)) == len(together) == folded.metrics["source"]["test"]["rows"]
    pooled = Predictions.load(folded.path / "evaluation" / "predictions_test.npz")
    assert list(pooled.ids) == list(together)


def test_metrics_are_the_mean_with_an_interval(folded):
    written = json.loads((folded.path / "evaluation" / "metrics.json").read_text())
    test = written["source"]["test"]
    accuracies = [fold.metrics["source"]["test"]["accuracy"] for fold in folded.runs.values()]
    assert test["accuracy"] == pytest.approx(np.mean(accuracies))
    assert test["folds"]["accuracy"] == pytest.approx(accuracies)
    assert test["interval"]["accuracy"] == pytest.approx(t_interval(accuracies))


def test_a_finished_one_trains_nothing_again_and_another_config_is_refused(folded):
    models = [fold.path / "best.keras" for fold in folded.runs.values()]
    before = [model.stat().st_mtime_ns for model in models]
    again = run_experiment(_experiment(folds=3), folded.path)
    assert again.metrics == folded.metrics
    assert [model.stat().st_mtime_ns for model in models] == before
    with pytest.raises(UserError, match="folds"):
        run_experiment(_experiment(folds=4), folded.path)


def test_t_interval_is_students():
    # 2, 4, 9 have mean 5 and standard deviation 3.606; t of 97.5 % with 2 degrees of freedom is 4.303
    low, high = t_interval([2.0, 4.0, 9.0])
    assert (low, high) == pytest.approx((5 - 8.957, 5 + 8.957), abs=1e-3)


def test_combined_leaves_out_what_is_no_number():
    folds = [
        {"source": {"test": {"rows": 3, "accuracy": a, "per_class": {}, "auc": None}}} for a in (0.5, 1.0)
    ]
    test = combined(folds)["source"]["test"]
    assert (test["rows"], test["accuracy"]) == (6, 0.75)
    assert set(test) == {"rows", "accuracy", "interval", "folds"}


def test_one_fold_by_name_is_a_plain_run():
    with pytest.raises(UserError, match="fold must lie"):
        _experiment(folds=3, fold=3)
    with pytest.raises(UserError, match="fold needs folds"):
        _experiment(fold=0)


@pytest.mark.parametrize("of_several_runs", [{"data.folds": 3}, {"tasks.source.source": "digits"}])
def test_an_unknown_method_is_refused_before_any_of_the_runs_writes(tmp_path, of_several_runs):
    adapting = {"adaptation.method": "dan_n", "adaptation.target.source": "digits"}
    config = apply_overrides(_experiment(), [f"{k}={v}" for k, v in (adapting | of_several_runs).items()])
    with pytest.raises(UserError, match="Did you mean 'dann'"):
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()

import numpy as np
import pytest
from probe_scores import probe_scores

from tlkeras import load_run, run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, HeadConfig, ModelConfig, ProbeConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.evaluation import Predictions
from tlkeras.methods.probe.probes import (
    PROBES,
    cross_validated,
    fit_probe,
    linear_weights,
    make_probe,
)

pytestmark = pytest.mark.usefixtures("without_reports")


def _blobs(shift: float = 3.0):
    rng = np.random.default_rng(0)
    y = np.arange(90) % 3
    return rng.normal(size=(90, 5)) + shift * np.eye(5)[y], y


@pytest.mark.parametrize("name", PROBES.names())
def test_scores_choose_the_class_that_the_probe_predicts(name):
    x, y = _blobs()
    probe = fit_probe(make_probe(name), x, y)
    scores = probe_scores(probe, x, classes=4)
    assert scores.shape == (90, 4)
    np.testing.assert_array_equal(scores.argmax(axis=1), probe.predict(x))
    assert np.mean(probe.predict(x) == y) > 0.9


def test_scale_of_a_feature_makes_no_difference_to_the_prototypes():
    x, y = _blobs()
    scaled = fit_probe(make_probe("prototypes"), x * [1, 10, 100, 1, 1], y).predict(x * [1, 10, 100, 1, 1])
    np.testing.assert_array_equal(scaled, fit_probe(make_probe("prototypes"), x, y).predict(x))


def test_held_out_rows_of_noise_are_guessed_by_chance():
    rng = np.random.default_rng(1)
    accuracy, right = cross_validated("logistic_regression", rng.normal(size=(100, 60)), np.arange(100) % 2)
    assert 0.3 < accuracy < 0.7 and right.shape == (100,)


def test_class_with_one_row_lowers_the_folds():
    x, y = _blobs()
    y = y.copy()
    y[0] = 3
    assert cross_validated("prototypes", x, y)[0] > 0.8


def test_unknown_option_names_the_probe():
    with pytest.raises(UserError, match="knn refuses its options"):
        make_probe("knn", options={"neighbours": 3})


@pytest.mark.parametrize("name", [name for name, probe in PROBES.items() if probe.linear])
@pytest.mark.parametrize("classes", [2, 3])
def test_linear_weights_say_what_the_probe_says(name, classes):
    x, y = _blobs(1.0)
    x, y = 1e-9 * x[y < classes] + 3e-9, y[y < classes]
    kernel, bias = linear_weights(ProbeConfig(name=name), x, y, classes, seed=0)
    probe = fit_probe(make_probe(name), x, y)
    np.testing.assert_array_equal((x @ kernel + bias).argmax(axis=1), probe.predict(x))


@pytest.fixture
def config(tmp_path):
    return ExperimentConfig(
        data=DataConfig(source="digits", image_size=8, limit=200),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [8, 16]}),
        stages=[
            StageConfig(name="probe", probe=ProbeConfig()),
            StageConfig(name="tune", train="all", epochs=1, optimizer={"learning_rate": 1e-5}),
        ],
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
    )


def test_probe_stage_puts_the_learner_into_the_saved_model(config, tmp_path):
    run = run_experiment(config.model_copy(update={"stages": config.stages[:1]}), tmp_path / "run")
    assert run.metrics["source"]["train"]["accuracy"] > 0.8  # of 24 random features
    events = run.run_dir.ledger.records()
    done = next(e for e in events if e["stage"] == "probe" and e["event"] == "completed")
    assert done["steps"] == 0 and done["best_metric"]["monitor"] == "val_accuracy"
    again = run_experiment(run.config, tmp_path / "again")
    for ours, theirs in zip(run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fine_tuning_goes_on_from_a_probe(config, tmp_path):
    run = run_experiment(config, tmp_path / "run")
    assert run.metrics["source"]["train"]["accuracy"] > 0.8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probe": {"name": "knn"}}, "set model.head.name=neighbors"),
        ({"train": "all"}, "'train'.*belongs to kind=fit.*kind=probe, train='all'"),
        ({"probe": {"name": "logistic_regression", "options": {"D": 1}}}, "refuses its options"),
    ],
)
def test_what_a_head_cannot_hold_is_refused(config, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        stage = StageConfig(**config.stages[0].model_dump() | change)
        run_experiment(config.model_copy(update={"stages": (stage,)}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_knn_stage_saves_the_rows_that_it_asks(config, tmp_path):
    head = HeadConfig(name="neighbors", neighbors=3, vote="uniform")
    stage = config.stages[0].model_copy(update={"probe": ProbeConfig(name="knn")})
    model = config.model.model_copy(update={"head": head})
    run = run_experiment(config.model_copy(update={"model": model, "stages": (stage,)}), tmp_path / "run")
    layer = load_run(tmp_path / "run").model.layers[-1]
    assert layer.examples.shape[0] == run.metrics["source"]["train"]["rows"]
    assert run.metrics["source"]["test"]["accuracy"] > 0.5
    answers = Predictions.load(run.path / "evaluation/predictions_test.npz").probabilities
    np.testing.assert_allclose(3 * answers, np.round(3 * answers), atol=1e-4)  # votes of three
    again = run_experiment(run.config, tmp_path / "run")  # finished: opened, not trained
    assert again.metrics == run.metrics


def test_prototypes_and_svm_are_learners_of_a_stage(config, tmp_path):
    for name in ("prototypes", "linear_svm"):
        stage = config.stages[0].model_copy(update={"probe": ProbeConfig(name=name)})
        run = run_experiment(config.model_copy(update={"stages": (stage,)}), tmp_path / name)
        assert run.metrics["source"]["test"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("head", "probe"), [({"name": "neighbors"}, {"name": "prototypes"}), ({"name": "neighbors"}, None)]
)
def test_neighbors_head_without_its_probe_is_refused(config, head, probe):
    values = config.model_dump() | {"stages": [{"name": "probe", "probe": probe}]}
    with pytest.raises(ValueError, match=r"each stage must have probe.name='knn'"):
        ExperimentConfig.model_validate(values | {"model": config.model.model_dump() | {"head": head}})


def test_more_neighbors_than_rows_are_refused(config, tmp_path):
    head = HeadConfig(name="neighbors", neighbors=10_000)
    stage = config.stages[0].model_copy(update={"probe": ProbeConfig(name="knn")})
    model = config.model.model_copy(update={"head": head})
    with pytest.raises(UserError, match=r"head.neighbors must be 1\.\."):
        run_experiment(config.model_copy(update={"model": model, "stages": (stage,)}), tmp_path / "run")

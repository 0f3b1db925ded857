"""Which variables move under each strategy of sharing, and what each task has of it."""

import json

import keras
import numpy as np
import pytest
from variants import further

from tlkeras import run_experiment
from tlkeras.cli.main import main
from tlkeras.config import (
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    StageConfig,
    TasksConfig,
)
from tlkeras.errors import UserError
from tlkeras.models import build_model
from tlkeras.studies.twins import twin_config
from tlkeras.studies.two_tasks import task_configs
from tlkeras.training.second_task import trains_jointly

pytestmark = pytest.mark.usefixtures("without_reports")

ADAM = {"learning_rate": 0.01}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Returns a folder with the arrays of both tasks, and with a wider source."""
    place = tmp_path_factory.mktemp("tasks")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(12, 10))
    for name, classes, width in (("target", 4, 10), ("source", 3, 10), ("wide", 3, 14)):
        y = np.arange(96) % classes
        x = centres[y] + 0.3 * rng.normal(size=(96, 10))
        x = np.concatenate([x, rng.normal(size=(96, width - 10))], axis=1).astype(np.float32)
        np.savez(place / f"{name}.npz", x_train=x, y_train=y, x_test=x, y_test=y, x_val=x, y_val=y)
    return place


@pytest.fixture(scope="module")
def config(place):
    """Returns two tasks on related vectors: four classes in the target, three in the source."""
    return ExperimentConfig(
        name="two",
        data=DataConfig(source=f"npz:{place / 'target.npz'}", batch_size=16),
        model=ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [12, 8]}),
        stages=[StageConfig(name="target", train="all", epochs=4, optimizer=ADAM)],
        tasks=TasksConfig(
            source=DataConfig(source=f"npz:{place / 'source.npz'}", batch_size=16),
            head=HeadConfig(name="mlp", units=(6,)),
            stages=[StageConfig(name="source", train="all", epochs=4, optimizer=ADAM)],
        ),
        cache={"dir": str(place / "cache"), "extractor": "exact"},
    )


@pytest.fixture(scope="module")
def fixed(config, tmp_path_factory):
    """Returns a finished run whose common part stays as the source left it."""
    return shared(config, tmp_path_factory.mktemp("fixed"), strategy="fix_common")


def shared(config, tmp_path, **tasks):
    config = config.model_copy(update={"tasks": config.tasks.model_copy(update=tasks)})
    return run_experiment(config, tmp_path / "run")


def common(path) -> list[np.ndarray]:
    """Returns the weights of the common part of a saved model."""
    model = keras.models.load_model(path, compile=False)
    return [w for layer in model.layers if layer.name.startswith("dense_") for w in layer.get_weights()]


def given(config) -> list[np.ndarray]:
    model = build_model(config.model, input_shape=(10,), num_outputs=4, seed=config.seed)
    return [w for layer in model.backbone.layers for w in layer.get_weights()]


def same(first, second) -> list[bool]:
    return [bool(np.array_equal(a, b)) for a, b in zip(first, second, strict=True)]


def test_fix_common_leaves_the_source_as_it_was(config, fixed):
    source, target = common(fixed.path / "source/best.keras"), common(fixed.path / "target/best.keras")
    assert all(same(source, target)) and not any(same(source, given(config)))
    tasks = fixed.before_and_after
    assert tasks["source"]["before"] == tasks["source"]["after"]
    assert tasks["target"]["after"]["test"]["accuracy"] > tasks["target"]["before"]["test"]["accuracy"]


def test_share_weights_moves_the_common_part_and_says_what_was_forgotten(config, tmp_path):
    run = shared(config, tmp_path, strategy="share_weights")
    source, target = common(run.path / "source/best.keras"), common(run.path / "target/best.keras")
    assert not any(same(source, target)) and not any(same(source, given(config)))
    tasks = json.loads((run.path / "evaluation/tasks.json").read_text())
    own = json.loads((run.path / "source/evaluation/metrics.json").read_text())["source"]["test"]
    assert tasks["source"]["before"]["test"]["accuracy"] == own["accuracy"]
    assert tasks["source"]["before"]["test"]["loss"] != tasks["source"]["after"]["test"]["loss"]


def test_private_first_trains_the_common_part_with_the_target_only(config, tmp_path):
    run = shared(config, tmp_path, strategy="private_first")
    source, target = common(run.path / "source/best.keras"), common(run.path / "target/best.keras")
    assert all(same(source, given(config))) and not any(same(target, source))


@pytest.mark.parametrize("batches", ["joint", further("alternating")])
def test_share_gradients_trains_both(config, tmp_path, batches):
    run = shared(config, tmp_path, strategy="share_gradients", batches=batches)
    assert not any(same(common(run.path / "target/best.keras"), given(config)))
    for task in ("source", "target"):
        when = run.before_and_after[task]
        assert when["after"]["train"]["loss"] < when["before"]["train"]["loss"]


def test_tasks_far_apart_share_batch_normalization(config, place, tmp_path):
    """Normalised each by itself while they train, they would meet statistics of neither afterwards."""
    with np.load(place / "source.npz") as arrays:
        np.savez(tmp_path / "far.npz", **{k: v + 6 if k[0] == "x" else v for k, v in arrays.items()})
    options = {"units": [12, 8], "batch_norm": True}
    stage = config.stages[0].model_copy(update={"bn": "train", "epochs": 60})
    config = config.model_copy(
        update={"stages": (stage,), "model": config.model.model_copy(update={"backbone_options": options})}
    )
    run = shared(
        config,
        tmp_path,
        strategy="share_gradients",
        source=DataConfig(source=f"npz:{tmp_path / 'far.npz'}", batch_size=16),
    )
    for task in ("source", "target"):
        assert run.before_and_after[task]["after"]["test"]["accuracy"] > 0.95


def test_weight_zero_leaves_the_target_alone(config, tmp_path):
    run = shared(config, tmp_path, strategy="share_gradients", weight=0.0)
    alone = config.model_copy(
        update={"tasks": None, "checkpoint": config.checkpoint.model_copy(update={"monitor": "last_step"})}
    )
    run_experiment(alone, tmp_path / "alone")
    for ours, theirs in zip(
        common(run.path / "target/best.keras"), common(tmp_path / "alone/best.keras"), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    source = run.before_and_after["source"]
    assert source["before"]["test"]["loss"] != source["after"]["test"]["loss"]  # the common part moved


@pytest.mark.parametrize("name", ["scratch", "random_features", "frozen_probe"])
def test_twins_of_shared_gradients_know_nothing_of_the_source(config, tmp_path, name):
    tasks = config.tasks.model_copy(update={"strategy": "share_gradients"})
    _, joint = task_configs(config.model_copy(update={"tasks": tasks}), tmp_path)
    assert trains_jointly(joint) and not trains_jointly(twin_config(joint, name, steps=8))


def test_inputs_of_another_width_pass_a_private_layer_first(config, place, tmp_path):
    wide = DataConfig(source=f"npz:{place / 'wide.npz'}", batch_size=16)
    run = shared(config, tmp_path, strategy="share_gradients", source=wide)
    when = run.before_and_after["source"]
    assert when["after"]["train"]["loss"] < when["before"]["train"]["loss"]


def test_finished_tasks_are_not_trained_again(config, fixed, capsys):
    shared(config, fixed.path.parent, strategy="fix_common")
    assert "finished already" in capsys.readouterr().out
    for words in (["evaluate"], ["predict"], ["export", "--format=saved_model"], ["report"]):
        name, *flags = words
        assert main([name, str(fixed.path), *["x.png"][: name == "predict"], *flags]) == 2
        assert f"name one of them, for example {fixed.path / 'target'}" in capsys.readouterr().err


def test_sharing_weights_with_a_frozen_common_part_is_refused(config, tmp_path):
    stages = (StageConfig(name="target", train="head"),)
    with pytest.raises(UserError, match="choose fix_common"):
        shared(config.model_copy(update={"stages": stages}), tmp_path, strategy="share_weights")
    assert not (tmp_path / "run").exists()

"""Tasks with private branches and inputs of different shape: which variables move under each strategy."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from variants import further

from tlkeras import load_model, load_run, run_experiment
from tlkeras.config import (
    AdapterConfig,
    DataConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    StageConfig,
    TasksConfig,
)
from tlkeras.errors import UserError
from tlkeras.methods.share.sharing import PrivatePart, SecondTask, source_model
from tlkeras.methods.training_model import TrainingModel
from tlkeras.models import build_model
from tlkeras.studies.two_tasks import task_configs
from tlkeras.training.optimizers import build_optimizer

pytestmark = pytest.mark.usefixtures("without_reports")

ADAM = {"learning_rate": 0.01}
COMMON = ("dense_1", "dense_2")
BRANCHES = NeckConfig(branches=[{"units": [5]}, {"units": [4, 3]}])


@pytest.fixture
def config(tmp_path):
    """Vectors of 10 in the target, pictures of 6 x 6 in the source; a common part of vectors of 7."""
    rng = np.random.default_rng(0)
    y = np.arange(48) % 3
    x = (rng.normal(size=(3, 10))[y] + 0.3 * rng.normal(size=(48, 10))).astype(np.float32)
    np.savez(tmp_path / "vectors.npz", x_train=x, y_train=y, x_test=x, y_test=y, x_val=x, y_val=y)
    pixels = rng.integers(0, 256, (2, 6, 6, 3))[y % 2] * rng.uniform(0.8, 1, (48, 6, 6, 3))
    pixels, y = pixels.astype(np.uint8), y % 2
    np.savez(tmp_path / "pictures.npz", x_train=pixels, y_train=y, x_test=pixels, y_test=y)
    network = {"backbone": "small_cnn", "backbone_options": {"filters": [4]}, "pooling": "avg"}
    stage = {"train": "all", "epochs": 2, "optimizer": ADAM}
    return ExperimentConfig(
        name="shapes",
        data=DataConfig(source=f"npz:{tmp_path / 'vectors.npz'}", batch_size=16),
        model=ModelConfig(
            backbone="mlp", weights=None, backbone_options={"units": [8, 6]},
            adapter=AdapterConfig(units=(9, 7)), neck=BRANCHES,
        ),
        stages=[StageConfig(name="target", **stage)],
        tasks=TasksConfig(
            source=DataConfig(source=f"npz:{tmp_path / 'pictures.npz'}", batch_size=16),
            adapter=AdapterConfig(units=(7,), **network),
            neck=NeckConfig(branches=[{"units": [4]}, {"units": [4]}], join="average"),
            head=HeadConfig(name="mlp", units=(5,)),
            stages=[StageConfig(name="source", bn="train", **stage)],
        ),
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
        tensorboard={"images": False},
    )  # fmt: skip


def strategy(config, name, **tasks):
    return config.model_copy(update={"tasks": config.tasks.model_copy(update={"strategy": name} | tasks)})


def weights(model) -> dict[str, np.ndarray]:
    """Returns the weights of a plain model by layer and number."""
    return {f"{x.name}/{i}": w for x in model.layers for i, w in enumerate(x.get_weights())}


def moved(before: dict, after: dict) -> set[str]:
    """Returns the layers whose weights differ."""
    assert before.keys() == after.keys()
    return {name.split("/")[0] for name in before if not np.array_equal(before[name], after[name])}


def as_given(config, task) -> dict[str, np.ndarray]:
    """Returns the first weights of a task's network."""
    config = dict(zip(("source", "target"), task_configs(config, Path("nowhere")), strict=True))[task]
    shape, outputs = {"source": ((6, 6, 3), 2), "target": ((10,), 3)}[task]
    model = config.model.model_copy(update={"weights": None})
    return weights(build_model(model, input_shape=shape, num_outputs=outputs, seed=0).to_functional())


def private_layers(all_weights: dict) -> set[str]:
    return {name.split("/")[0] for name in all_weights} - set(COMMON)


@pytest.mark.parametrize("name", ["share_weights", further("fix_common"), further("private_first")])
def test_each_task_comes_in_by_its_own_adapter(config, tmp_path, name):
    config = strategy(config, name)
    run = run_experiment(config, tmp_path / "run")
    source, target = (weights(load_model(run.path / task / "best.keras")) for task in ("source", "target"))
    assert {"adapter_conv_1", "adapter_dense_1", "neck_branch_2_dense_1"} <= private_layers(source)
    assert {"adapter_dense_2", "neck_branch_1_dense_1", "neck_branch_2_dense_2"} <= private_layers(target)
    common = set(COMMON)
    moved_in_source = moved(as_given(config, "source"), source)
    assert moved_in_source == private_layers(source) | (set() if name == "private_first" else common)
    begun = as_given(config, "target") | {k: v for k, v in source.items() if k.split("/")[0] in common}
    assert moved(begun, target) == private_layers(target) | (set() if name == "fix_common" else common)
    when = run.before_and_after["source"]
    own = load_run(run.path / "source").metrics["source"]["test"]["loss"]
    assert when["before"]["test"]["loss"] == pytest.approx(own, abs=1e-6)
    assert (when["before"] == when["after"]) == (name == "fix_common")


@pytest.mark.parametrize(
    ("train", "opened"), [("last:1", {"dense_2"}), further("all", set(COMMON)), further("head", set())]
)
def test_gradients_meet_in_the_common_part(config, tmp_path, train, opened):
    """Both adapters, both necks and both heads train; the common part as the stage says."""
    stages = (config.stages[0].model_copy(update={"train": train}),)
    config = strategy(config, "share_gradients", batches="alternating").model_copy(update={"stages": stages})
    run = run_experiment(config, tmp_path / "run")
    target = weights(load_model(run.path / "target/best.keras"))
    assert moved(as_given(config, "target"), target) == private_layers(target) | opened
    for when in (run.before_and_after["source"], run.before_and_after["target"]):
        assert when["after"]["train"]["loss"] < when["before"]["train"]["loss"]


@pytest.mark.parametrize("of_target", [True, False])
def test_a_step_on_one_task_leaves_the_private_part_of_the_other(config, of_target):
    """Steps alternate: even ones are the target's, odd ones the source's; the common part takes both."""
    model = build_model(config.model, input_shape=(10,), num_outputs=3, seed=0)
    private = PrivatePart(model, config.model, config.tasks, (6, 6, 3), 2, seed=0)
    model.select("all", "train")
    joint = TrainingModel(
        model, (SecondTask(private, keras.losses.MeanSquaredError(), weight=1.0, alternating=True),)
    )
    joint.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    joint.optimizer.build(joint.trainable_variables)
    joint.optimizer.iterations.assign(0 if of_target else 1)
    parts = {"target": weights(model.to_functional()), "source": weights(source_model(model, private))}
    rng = np.random.default_rng(0)
    x, pixels = rng.normal(size=(4, 10)), rng.uniform(0, 255, (4, 6, 6, 3))
    batch = (x.astype("float32"), np.ones((4, 3))), (pixels.astype("float32"), np.ones((4, 2)))
    joint.fit(tf.data.Dataset.from_tensors(batch), shuffle=False, verbose=0)
    after = {"target": weights(model.to_functional()), "source": weights(source_model(model, private))}
    trained, other = ("target", "source") if of_target else ("source", "target")
    assert moved(parts[trained], after[trained]) == private_layers(parts[trained]) | set(COMMON)
    # statistics of BatchNormalization follow what passes, whose turn it is or not
    assert moved(parts[other], after[other]) - {"adapter_conv_1_bn"} == set(COMMON)


def alternating_steps(config, optimizer, steps):
    """Returns weights of both tasks before and after each step, `(target's, source's)`."""
    keras.utils.set_random_seed(0)
    model = build_model(config.model, input_shape=(10,), num_outputs=3, seed=0)
    private = PrivatePart(model, config.model, config.tasks, (6, 6, 3), 2, seed=0)
    model.select("all", "inference")
    joint = TrainingModel(
        model, (SecondTask(private, keras.losses.MeanSquaredError(), weight=1.0, alternating=True),)
    )
    joint.compile(optimizer=build_optimizer(optimizer, steps=steps), loss="mse")
    rng = np.random.default_rng(0)
    x, pixels = rng.normal(size=(4, 10)), rng.uniform(0, 255, (4, 6, 6, 3))
    batch = (x.astype("float32"), np.ones((4, 3))), (pixels.astype("float32"), np.ones((4, 2)))
    data, found = tf.data.Dataset.from_tensors(batch), []
    for step in range(steps + 1):
        found.append((weights(model.to_functional()), weights(source_model(model, private))))
        if step < steps:
            joint.fit(data, shuffle=False, verbose=0)
    return found


MOVING = {"adapter_conv_1_bn"}  # statistics of BatchNormalization follow what passes, whose turn it is or not


@pytest.mark.parametrize("accumulate", [1, 2])
def test_momentum_leaves_the_task_that_is_idle(config, accumulate):
    """Adam goes on where gradients are zero, and weight decay needs none: the idle part takes no step.

    Where batches are accumulated, it is the updates that alternate.
    """
    adamw = OptimizerConfig(name="adamw", learning_rate=0.05, weight_decay=0.1, accumulate_steps=accumulate)
    found = alternating_steps(config, adamw, 4 * accumulate)[::accumulate]
    for step in range(4):
        (target, source), (target_after, source_after) = found[step : step + 2]
        of_target = step % 2 == 0
        assert moved(target, target_after) == set(COMMON) | (private_layers(target) if of_target else set())
        trained = set() if of_target else private_layers(source)
        assert moved(source, source_after) - MOVING == set(COMMON) | trained - MOVING


def test_two_replicas_alternate_as_one_device_does(last_json):
    assert last_json(Path(__file__).parent / "two_replicas_alternating.py") < 1e-5


def test_wider_vectors_get_an_adapter_under_every_strategy(config, tmp_path):
    """Without adapters in the config, the source's vectors pass one linear layer of its own."""
    y = np.arange(48) % 2
    x = np.random.default_rng(1).normal(size=(48, 14)).astype(np.float32) + y[:, None]
    np.savez(tmp_path / "wide.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    wide = DataConfig(source=f"npz:{tmp_path / 'wide.npz'}", batch_size=16)
    config = config.model_copy(update={"model": config.model.model_copy(update={"adapter": None})})
    run = run_experiment(strategy(config, "fix_common", adapter=None, source=wide), tmp_path / "run")
    source, target = (load_model(run.path / task / "best.keras") for task in ("source", "target"))
    assert source.get_layer("adapter_dense_1").kernel.shape == (14, 10)
    for name in COMMON:
        np.testing.assert_array_equal(source.get_layer(name).kernel, target.get_layer(name).kernel)


def test_inputs_that_do_not_meet_are_refused(config, tmp_path):
    with pytest.raises(UserError, match=r"gets \(7,\) from the target but \(6, 6, 3\)") as error:
        run_experiment(strategy(config, "share_weights", adapter=None), tmp_path / "run")
    assert "tasks.adapter.units" in str(error.value) and "\n" not in str(error.value)
    narrow = AdapterConfig(units=(5,))
    with pytest.raises(UserError, match=r"but \(5,\) from the source"):
        run_experiment(strategy(config, "share_gradients", adapter=narrow), tmp_path / "run")
    nested = config.model.model_copy(update={"nested": {"source": "runs/first"}})
    nested = ModelConfig(**config.model.model_dump() | {"nested": {"source": "runs/first"}})
    with pytest.raises(UserError, match="choose one of them"):
        run_experiment(config.model_copy(update={"model": nested}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_probe_behind_an_adapter_is_refused(config, tmp_path):
    probe = StageConfig(name="probe", probe={"name": "logistic_regression"})
    alone = config.model_copy(update={"tasks": None, "stages": (probe,)})
    with pytest.raises(UserError, match="the adapter would keep its random weights"):
        run_experiment(alone, tmp_path / "run")
    with pytest.raises(UserError, match="would keep its random weights"):
        ExperimentConfig(**config.model_dump() | {"verdict": {"twins": ["frozen_probe"]}})

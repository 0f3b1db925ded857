"""Whole runs with an earlier run's model nested in them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from ends_at_once import AT_ONCE

from tlkeras import load_run, run_experiment
from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.studies.twins import twin_config

pytestmark = pytest.mark.usefixtures("without_reports")

ADAM = {"learning_rate": 0.01}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with data of 10 features and with a finished run on it."""
    folder, rng = tmp_path_factory.mktemp("nested"), np.random.default_rng(0)
    y = np.arange(48) % 4
    x = (rng.normal(size=(4, 10))[y] + 0.3 * rng.normal(size=(48, 10))).astype(np.float32)
    for name, labels in (("source", y), ("target", y % 2)):
        arrays = {f"{kind}_{s}": v for s in ("train", "val", "test") for kind, v in (("x", x), ("y", labels))}
        np.savez(folder / f"{name}.npz", **arrays)
    options = {"units": [8], "batch_norm": True, "dropout": 0.2}
    run_experiment(configured(folder, "source", backbone_options=options, bn="train"), folder / "first")
    return folder


def configured(folder, name, stages=("all",), bn="frozen", backbone="mlp", gradual=False, **model):
    return ExperimentConfig(
        name=name,
        data=DataConfig(source=f"npz:{folder / name}.npz", batch_size=16),
        model=ModelConfig(backbone=backbone, weights=None, **model),
        stages=[
            StageConfig(name=train, train=train, epochs=2, bn=bn, optimizer=ADAM, gradual=gradual)
            for train in stages
        ],
        cache={"dir": str(folder / "cache"), "extractor": "exact"},
        tensorboard={"images": False},
    )


def weights(path, prefix) -> dict[str, np.ndarray]:
    model = keras.models.load_model(path / "best.keras", compile=False)
    layers = [x for x in model.layers if x.name.startswith(prefix) and x.weights]
    return {f"{x.name.removeprefix(prefix)}/{i}": w for x in layers for i, w in enumerate(x.get_weights())}


def same(first, second) -> set[bool]:
    return {bool(np.array_equal(first[name], second[name])) for name in first}


def test_frozen_it_stays_through_all_stages(folder, tmp_path):
    nested = {"source": str(folder / "first"), "activation": "softmax"}
    config = configured(
        folder, "target", ("head", "all"), "train", nested=nested, backbone_options={"units": [6]}
    )
    run = run_experiment(config, tmp_path / "run")
    source, ours = weights(folder / "first", ""), weights(run.path, "nested_")
    assert ours.keys() == source.keys() and same(ours, source) == {True}
    events = [e for e in run.run_dir.ledger.records() if e["event"] == "completed"]
    assert [e["extraction_seconds"] > 0 for e in events] == [True, True]  # its outputs are kept in both
    assert [e["frozen_parameters"] > 0 for e in events] == [True, True]


@pytest.mark.parametrize("join", ["concat", "alone"])
def test_not_frozen_it_moves_with_all_and_stays_with_the_head(folder, tmp_path, join):
    rest = {"backbone": "none"} if join == "alone" else {"backbone_options": {"units": [6]}}
    nested = {"source": str(folder / "first"), "frozen": False, "join": join}
    source = weights(folder / "first", "")
    head = run_experiment(
        configured(folder, "target", nested=nested, stages=("head",), **rest), tmp_path / "a"
    )
    assert same(weights(head.path, "nested_"), source) == {True}
    config = configured(folder, "target", bn="train", nested=nested, gradual=True, **rest)
    opened = run_experiment(config, tmp_path / "b")
    assert same(weights(opened.path, "nested_"), source) == {False}


def test_the_saved_model_needs_neither_tlkeras_nor_the_source(folder, tmp_path):
    nested = {"source": str(folder / "first"), "frozen": False}
    run = run_experiment(
        configured(folder, "target", nested=nested, backbone_options={"units": [6]}), tmp_path / "run"
    )
    x = np.load(folder / "target.npz")["x_test"]
    np.save(tmp_path / "x.npy", x)
    program = AT_ONCE + (
        "import sys, keras, numpy as np; "
        "model = keras.models.load_model(sys.argv[1]); "
        "np.save('logits.npy', model.predict(np.load('x.npy'), verbose=0)); "
        "assert not any(name.startswith('tlkeras') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, run.path / "best.keras"], check=True, cwd=tmp_path)
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(logits / run.temperature, run.predict(x).logits, atol=1e-5)
    right = logits.argmax(1) == np.load(folder / "target.npz")["y_test"]
    assert load_run(run.path).metrics["source"]["test"]["accuracy"] == pytest.approx(right.mean())


def test_a_wrong_source_leaves_the_workdir_alone(folder, tmp_path):
    with pytest.raises(UserError, match=r"There is no such file.*model.nested.source='nowhere'"):
        run_experiment(configured(folder, "target", nested={"source": "nowhere"}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_twins_know_nothing_of_the_nested_task(folder):
    config = configured(folder, "target", nested={"source": str(folder / "first")})
    scratch, random, probe = (
        twin_config(config, name, 10).model.nested for name in ("scratch", "random_features", "frozen_probe")
    )
    assert (scratch.pretrained, scratch.frozen) == (False, False)
    assert (random.pretrained, random.frozen) == (False, True)
    assert probe == config.model.nested

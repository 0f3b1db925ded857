"""Whole runs that adapt, looked at through their files and weights."""

import csv
import json

import keras
import numpy as np
import pytest
from variants import further

from tlkeras import load_model, run_experiment
from tlkeras.config import AdaptationConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.evaluation.embedding_file import read_embedding
from tlkeras.prepare import prepare
from tlkeras.training.stage_batches import StageBatches

BLOBS = "synthetic:blobs?n=60&shift="


def config(*, stages=None, normalised=False, runtime=None, **adaptation) -> ExperimentConfig:
    """Two blobs beside each other and, without labels, the same two moved far away."""
    options = {"units": [8], "batch_norm": normalised}
    settings = {
        "method": "dann", "target": DataConfig(source=BLOBS + "3,-3"), "options": {"units": [8]},
        "twin": False,
    }  # fmt: skip
    optimizer = {"learning_rate": 0.02}
    return ExperimentConfig(
        name="adapted",
        data=DataConfig(source=BLOBS + "0,0", batch_size=16),
        model=ModelConfig(backbone="mlp", weights=None, backbone_options=options),
        stages=stages or [StageConfig(name="adapt", train="all", bn="train", epochs=6, optimizer=optimizer)],
        adaptation=AdaptationConfig(**settings | adaptation),
        runtime=runtime or {},
    )


def log(run, stage: str) -> list[dict]:
    with (run.path / "stages" / stage / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def weights(run) -> list[np.ndarray]:
    return load_model(run.path / "best.keras").get_weights()


def equal(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def later(tmp_path_factory):
    """A run whose second stage adapts."""
    stages = [
        StageConfig(name="source", train="all", epochs=4, adapt=False, optimizer={"learning_rate": 0.02}),
        StageConfig(name="adapt", train="all", epochs=4, optimizer={"learning_rate": 0.02}),
    ]
    return run_experiment(config(stages=stages), tmp_path_factory.mktemp("later") / "run")


def test_adaptation_begins_in_a_later_stage(later):
    first, second = log(later, "00_source"), log(later, "01_adapt")
    assert "reversal_gradient_norm" not in first[-1]
    assert float(second[-1]["reversal_gradient_norm"]) > 0
    assert float(second[0]["strength"]) < float(second[-1]["strength"])


@pytest.mark.usefixtures("without_report")
def test_adda_trains_a_source_model_first(tmp_path):
    run = run_experiment(config(method="adda"), tmp_path / "run")
    rows = log(run, "00_adapt")
    losses, strengths = ([float(row[k]) for row in rows] for k in ("class_loss", "strength"))
    assert strengths[0] == 0 and losses[0] > 0.1
    assert strengths[-1] > 0.9 and losses[-1] == 0
    assert run.metrics["source"]["test"]["accuracy"] > 0.9


@pytest.mark.usefixtures("without_report")
def test_adda_goes_without_where_an_earlier_stage_trains_the_source(tmp_path):
    stages = [
        StageConfig(name="source", train="all", epochs=4, adapt=False, optimizer={"learning_rate": 0.02}),
        StageConfig(name="adapt", train="all", epochs=2, optimizer={"learning_rate": 0.002}),
    ]
    strength = {"schedule": "constant"}
    run = run_experiment(config(method="adda", stages=stages, strength=strength), tmp_path / "run")
    assert [float(row["class_loss"]) for row in log(run, "01_adapt")] == [0, 0]
    assert run.metrics["source"]["test"]["accuracy"] > 0.9


def test_what_is_watched_while_it_trains(later):
    for row in log(later, "01_adapt"):
        for name in ("val_accuracy", "oracle_target_accuracy", "domain_accuracy", "alignment",
                     "target_class_shift", "val_selection"):  # fmt: skip
            assert np.isfinite(float(row[name])), name


def test_the_domains_before_and_after(later):
    found = json.loads((later.path / "evaluation/domains.json").read_text())
    # three standard deviations of the features apart: a fresh linear probe tells them at once
    assert found["before"]["a_distance"] > 1.5
    assert 0 <= found["after"]["a_distance"] <= 2
    before, after = (
        read_embedding(later.path / f"evaluation/embedding_{w}.npz") for w in ("before", "after")
    )
    for embedding in (before, after):
        assert embedding["domain_names"] == ["source", "target"]
        assert set(embedding["domain"]) == {0, 1}
    assert list(before["ids"]) == list(after["ids"])
    assert not np.allclose(before["features"], after["features"])


def test_the_predicted_classes_stand_beside_the_sources(later):
    found = json.loads((later.path / "evaluation/domains.json").read_text())
    assert found["source_labels"] == {"first": 0.5, "second": 0.5}
    with (later.path / "evaluation/target/predictions.csv").open() as file:
        predicted = [row["prediction"] for row in csv.DictReader(file)]
    for name, share in found["target_predictions"].items():
        assert share == pytest.approx(np.mean([p == name for p in predicted]))


def means(path, source: str) -> np.ndarray:
    """Returns the mean of what the first BatchNormalization of a saved model gets from training rows."""
    rows = prepare(config(target=DataConfig(source=source))).domains["target"].splits["train"]
    model = load_model(path / "best.keras")
    return (rows.inputs @ model.get_layer("dense_1").get_weights()[0]).mean(axis=0)


@pytest.mark.usefixtures("without_report")
def test_domain_specific_batch_norm_saves_the_targets_and_validates_with_the_sources(tmp_path):
    run = run_experiment(config(normalised=True, batch_norm="domain_specific"), tmp_path / "run")
    saved = load_model(run.path / "best.keras").get_layer("dense_1_bn")
    moving = keras.ops.convert_to_numpy(saved.moving_mean)
    source, target = means(run.path, BLOBS + "0,0"), means(run.path, BLOBS + "3,-3")
    assert np.linalg.norm(moving - target) < 0.2 * np.linalg.norm(source - target)
    # with the target's statistics, source rows would lie far from all that the head knows
    assert run.metrics["source"]["test"]["accuracy"] < 0.8
    assert float(log(run, "00_adapt")[-1]["val_accuracy"]) > 0.95


def test_domain_specific_batch_norm_of_a_frozen_network_is_refused(tmp_path):
    stages = [StageConfig(name="adapt", train="all", bn="frozen", epochs=1)]
    with pytest.raises(UserError, match="adabn"):
        run_experiment(config(stages=stages, normalised=True, batch_norm="domain_specific"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "strength", [{"schedule": "constant", "gamma": 5.0}, {"schedule": "linear", "gamma": 5.0}, {"start": 0.5}]
)
def test_a_setting_that_the_schedule_does_not_read_is_refused(tmp_path, strength):
    name = list(strength)[-1]
    with pytest.raises(UserError, match=rf"strength\.{name} has no effect .*={strength[name]:g}$"):
        run_experiment(config(strength=strength), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("without_report")
def test_adabn_alone_puts_the_targets_statistics_into_a_source_only_model(tmp_path):
    run = run_experiment(
        config(normalised=True, method="none", batch_norm="adabn", options={}, twin=True), tmp_path / "run"
    )
    assert "alignment" not in log(run, "00_adapt")[-1]
    for path, source in ((run.path, "3,-3"), (run.path / "twin", "0,0")):
        saved = load_model(path / "best.keras").get_layer("dense_1_bn")
        moving = keras.ops.convert_to_numpy(saved.moving_mean)
        expected = means(path, BLOBS + source)
        np.testing.assert_allclose(moving, expected, atol=0.01 if source == "3,-3" else 0.3)
    assert (run.path / "evaluation/verdict.json").is_file()


def test_sources_and_targets_take_turns():
    parts = prepare(
        config(
            more_sources=(DataConfig(source=BLOBS + "50,0"),), target=DataConfig(source=BLOBS + "100,0"),
            more_targets=(DataConfig(source=BLOBS + "150,0"), DataConfig(source=BLOBS + "200,0")),
        )
    )  # fmt: skip
    assert list(parts.domains) == ["source", "source_2", "target", "target_2", "target_3"]
    stage = parts.config.stages[0]
    steps = type("Steps", (), {"total": 6, "per_epoch": 6, "epochs": 1})
    for first in (0, 1):  # also where an earlier process stopped
        found = [
            (float(x[:, 0].numpy().mean()), float(target[:, 0].numpy().mean()))
            for (x, _), target in StageBatches(parts).training(stage, steps, first, 1)
        ]
        expected = [(50 * (i % 2), 100 + 50 * (i % 3)) for i in range(first, 6)]
        np.testing.assert_allclose(found, expected, atol=1)


def test_a_run_with_several_sources_and_targets_evaluates_all(tmp_path):
    more = {
        "more_sources": (DataConfig(source=BLOBS + "0,1"),),
        "more_targets": (DataConfig(source=BLOBS + "1,1"),),
    }
    run = run_experiment(config(**more), tmp_path / "run")
    assert run.metrics.keys() == {"source", "source_2", "target", "target_2"}
    assert {splits["test"]["rows"] for splits in run.metrics.values()} == {60}


@pytest.fixture
def target_files(tmp_path):
    """Returns a function that writes a target of 120 rows and 16 of them with labels."""
    rng = np.random.default_rng(0)
    y = np.arange(120) % 2
    x = np.stack([y + 3 + 0.2 * rng.normal(size=120), 0.2 * rng.normal(size=120) - 3], axis=1)
    x = x.astype("float32")

    def write(name, target_labels=y, few_labels=y[:16]):
        np.savez(tmp_path / f"{name}.npz", x=x, y=target_labels)
        np.savez(tmp_path / f"{name}_few.npz", x_train=x[:16], y_train=few_labels, x_test=x[:2], y_test=y[:2])
        settings = {"val_fraction": 0.0}
        return {
            "target": DataConfig(source=f"npz:{tmp_path / name}.npz"),
            "target_labelled": DataConfig(source=f"npz:{tmp_path / name}_few.npz", **settings),
        }

    return write, y


@pytest.mark.usefixtures("without_report")
def test_target_labels_come_in_through_target_labelled_alone(target_files, tmp_path):
    write, y = target_files
    noise = np.random.default_rng(1).permutation(y)
    stages = [StageConfig(name="adapt", train="all", steps=12)]
    given = {"a": {}, "b": {"target_labels": noise}, "c": {"few_labels": 1 - y[:16]}}
    runs = {
        name: run_experiment(config(stages=stages, **write(name, **labels)), tmp_path / "runs" / name)
        for name, labels in given.items()
    }
    assert equal(weights(runs["a"]), weights(runs["b"]))
    assert not equal(weights(runs["a"]), weights(runs["c"]))
    counted = sum(split["rows"] for split in runs["a"].metrics["target"].values())
    assert counted == 120 - 16
    assert runs["a"].metrics["target_labelled"]["train"]["rows"] == 16


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize("precision", ["mixed_float16", further("mixed_bfloat16")])
def test_adaptation_in_mixed_precision(tmp_path, precision):
    try:
        run = run_experiment(config(runtime={"precision": precision}), tmp_path / "run")
    finally:
        keras.config.set_dtype_policy("float32")
    last = log(run, "00_adapt")[-1]
    assert 0 < float(last["reversal_gradient_norm"]) < 1
    assert run.metrics["source"]["test"]["accuracy"] > 0.95


def few_rows(path, count: int) -> DataConfig:
    x = np.random.default_rng(0).normal(loc=3.0, size=(count, 2)).astype("float32")
    np.savez(path, x_train=x, x_test=x)
    return DataConfig(source=f"npz:{path}", val_fraction=0.0)


def test_a_domain_smaller_than_a_batch_is_repeated(tmp_path, capsys):
    target = few_rows(tmp_path / "few.npz", 5)
    parts = prepare(config(target=target, more_sources=(DataConfig(source=BLOBS + "50,0", limit=6),)))
    rows = parts.targets[0].splits["train"].inputs
    made = StageBatches(parts)
    steps = type("Steps", (), {"total": 10, "per_epoch": 10, "epochs": 1})
    batches = [target.numpy() for _, target in made.training(parts.config.stages[0], steps, 0, 1)]
    assert {batch.shape for batch in batches} == {(16, 2)}
    times = [[(batch == row).all(axis=1).sum() for row in rows] for batch in batches]
    assert np.min(times) >= 1 and np.max(times) <= 4  # each row four times in a pass of 20
    assert "target has 5 training rows" in capsys.readouterr().err
    assert len(made.names_of_step(1)) == 16  # of the second source


def test_a_run_on_five_target_rows(tmp_path):
    stages = [StageConfig(name="adapt", train="all", steps=4)]
    run = run_experiment(config(stages=stages, target=few_rows(tmp_path / "few.npz", 5)), tmp_path / "run")
    assert float(log(run, "00_adapt")[-1]["reversal_gradient_norm"]) > 0
    assert run.metrics["target"].keys() <= {"test", "train"}


@pytest.mark.usefixtures("without_report")
def test_adamatch_on_vectors_trains_on_noisy_second_views(tmp_path):
    stages = [StageConfig(name="adapt", train="all", steps=4)]
    given = {"method": "adamatch", "options": {}, "stages": stages}
    parts = prepare(config(**given, strong_augment={"noise": 0.5}))
    steps = type("Steps", (), {"total": 40, "per_epoch": 40, "epochs": 1})
    both = [views for _, views in StageBatches(parts).training(parts.config.stages[0], steps, 0, 2)]
    difference = np.concatenate([strong.numpy() - weak.numpy() for weak, strong in both])
    assert difference.std() == pytest.approx(0.5, rel=0.1) and abs(difference.mean()) < 0.05
    runs = [
        run_experiment(config(**given, strong_augment={"noise": n}), tmp_path / str(n)) for n in (0.5, 1.0)
    ]
    assert not equal(weights(runs[0]), weights(runs[1]))


def test_labelled_rows_of_the_targets_own_source_leave_its_other_splits_alone():
    """Only what trains with labels is left out of the target: its test rows are still to be judged."""
    labelled = DataConfig(source=BLOBS + "3,-3", per_class=4)
    domains = prepare(config(target_labelled=labelled)).domains
    target, alone = domains["target"], prepare(config()).domains["target"]
    assert len(target.splits["train"]) == len(alone.splits["train"]) - 8
    for split in ("val", "test"):
        assert len(target.splits[split]) == len(alone.splits[split]) > 0

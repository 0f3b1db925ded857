import json

import keras
import numpy as np
import pytest
from variants import further

from tlkeras.config import (
    AdaptationConfig,
    AugmentConfig,
    CheckpointConfig,
    DataConfig,
    apply_overrides,
)
from tlkeras.data import feature_batches, training_batches
from tlkeras.errors import Interrupted
from tlkeras.features.arrays import ArrayFeatures
from tlkeras.features.stage_features import steps_per_execution
from tlkeras.plan import plan
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.studies.sweep import run_sweep
from tlkeras.studies.sweep_plan import SweepRun
from tlkeras.training import callbacks
from tlkeras.training.trainer import Trainer


def train(config, pictures, folder, prepare_model=None):
    """Trains a config in this process and returns weights by name, and the run directory."""
    keras.backend.clear_session()
    parts = prepare(config, pictures)
    if prepare_model is not None:
        prepare_model(parts.model)
    run_dir = RunDir(folder)
    run_dir.start(config.model_dump(mode="json"))
    try:
        Trainer(parts, run_dir).train()
    finally:
        run_dir.lock.release()
    return {v.path: keras.ops.convert_to_numpy(v) for v in parts.model.variables}, run_dir


def with_stage(config, **update):
    stage = config.stages[0].model_copy(update=update)
    return config.model_copy(update={"stages": (stage,)})


def uncached(config):
    return config.model_copy(update={"cache": config.cache.model_copy(update={"enabled": False})})


@pytest.mark.parametrize(
    "update",
    [
        further({"train": "head"}, id="head"),
        pytest.param({"train": "last:1", "bn": "train"}, id="last"),
        further({"train": "head", "label_smoothing": 0.1, "class_weights": "balanced"}, id="smoothed"),
        pytest.param({"train": "head", "augment": AugmentConfig(flip="horizontal")}, id="views"),
    ],
)
def test_weights_are_those_of_training_on_pixels(config, pictures, tmp_path, update):
    config = apply_overrides(config, ["model.neck.dropout=0.3", "data.views=2"])
    config = with_stage(config, **update)
    cached, run_dir = train(config, pictures, tmp_path / "cached")
    plain, _ = train(uncached(config), pictures, tmp_path / "plain")
    for path, values in plain.items():
        np.testing.assert_allclose(cached[path], values, rtol=0, atol=1e-5, err_msg=path)
    end = run_dir.ledger.last(event="completed")
    assert end["extraction_seconds"] > 0 and end["training_seconds"] > 0
    other = RunDir(tmp_path / "plain").ledger.last(event="completed")
    assert other["extraction_seconds"] == 0
    accuracies = [
        [row["val_accuracy"] for row in run.read_rows(run.stage_metrics(0, "head"))]
        for run in (run_dir, RunDir(tmp_path / "plain"))
    ]
    assert accuracies[0] == accuracies[1] and len(accuracies[0]) == 3


def test_batches_hold_the_rows_that_batches_of_pixels_would(domain):
    rows = domain.splits["train"]
    features = [ArrayFeatures(rows.inputs[:, 0, 0].astype(np.float32))]
    settings = {"batch_size": 8, "seed": 3, "start_step": 5, "steps": 31}
    ours = list(feature_batches.training_batches(features, rows, domain, **settings))
    theirs = list(training_batches(rows, domain, **settings))
    assert len(ours) == len(theirs) == 26
    for (x, y), (pixels, labels) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(x, pixels[:, 0, 0])
        np.testing.assert_array_equal(y, labels)


def test_chunks_end_where_the_steps_do(domain, monkeypatch):
    monkeypatch.setattr(feature_batches, "_CHUNK_STEPS", 4)
    rows = domain.splits["train"]
    features = [ArrayFeatures(np.full((75, 2), view, np.float32)) for view in range(3)]
    data = feature_batches.training_batches(
        features, rows, domain, batch_size=8, seed=0, start_step=6, steps=30
    )
    views = [int(x[0, 0]) for x, _ in data]
    assert views == [(step // 9) % 3 for step in range(6, 30)] and len(data) == 24


def test_a_padded_last_batch_counts_nothing(domain):
    rows = domain.splits["val"]
    features = ArrayFeatures(rows.inputs[:, 0, 0].astype(np.float32))
    found = list(feature_batches.evaluation_batches(features, rows, domain, batch_size=8))
    assert [float(weight.numpy().sum()) for _, _, weight in found] == [8, 8, 5]
    x = np.concatenate([x for x, _, _ in found])[:21]
    np.testing.assert_array_equal(x, features.array)


@pytest.mark.parametrize("enabled", [True, False], ids=["cached", "plain"])
def test_resuming_within_an_epoch_is_bit_identical(config, pictures, tmp_path, monkeypatch, enabled):
    config = apply_overrides(config, ["model.neck.dropout=0.3", f"cache.enabled={enabled}"])
    config = config.model_copy(update={"checkpoint": CheckpointConfig(every_steps=4)})
    whole, _ = train(config, pictures, tmp_path / "whole")
    original = callbacks.StepCounter.on_train_batch_end

    def stop_after_step_13(self, batch, logs=None):
        original(self, batch, logs)
        if self.step >= 14:
            raise Interrupted(15, "as a signal would")

    monkeypatch.setattr(callbacks.StepCounter, "on_train_batch_end", stop_after_step_13)
    with pytest.raises(Interrupted):
        train(config, pictures, tmp_path / "resumed")
    monkeypatch.undo()
    if enabled:
        note = tmp_path / "resumed" / "stages" / "00_head" / "features.json"
        assert json.loads(note.read_text())["extractor"] == "exact"
    resumed, run_dir = train(config, pictures, tmp_path / "resumed")
    assert run_dir.ledger.last(event="resumed") is not None
    for path, values in whole.items():
        np.testing.assert_array_equal(resumed[path], values, err_msg=path)


@pytest.mark.parametrize(
    ("update", "words", "keeps", "reason"),
    [
        ({}, [], True, None),
        ({"epochs": 1}, [], True, None),  # 75 rows in batches of 8: the last three are dropped
        ({"train": "last:1", "steps": 9}, [], True, None),
        ({"augment": AugmentConfig(flip="horizontal")}, ["data.views=3"], True, None),
        ({"augment": AugmentConfig(flip="horizontal"), "epochs": 2}, ["data.views=3"], False, "too short"),
        ({"augment": AugmentConfig(flip="horizontal")}, [], False, "augmented at random"),
        ({"augment": AugmentConfig(mixup=0.2)}, [], False, "mixup"),
        ({"steps": 8}, [], False, "too short"),
        ({"train": "all"}, [], False, None),
        ({"augment": AugmentConfig(mixup=0.2)}, ["cache.enabled=false"], False, None),
    ],
    ids=str,
)
def test_stages_that_the_cache_can_serve(config, pictures, tmp_path, capsys, update, words, keeps, reason):
    config = apply_overrides(with_stage(config, **update), words)
    opened, _ = open_features_of(config, pictures, tmp_path / "run")
    assert (opened is not None) == keeps
    said = capsys.readouterr().out
    assert said.count("the frozen trunk is computed in every step: ") == (reason is not None)
    assert reason is None or reason in said
    planned = plan(config.model_copy(update={"data": config.data.model_copy(update={"source": SHAPES})}))
    assert planned.notes == [] if reason is None else reason in planned.notes[0]


SHAPES = "synthetic:shapes?n=75&size=16"


def open_features_of(config, pictures, folder):
    parts, run_dir = prepare(config, pictures), RunDir(folder)
    stage = Trainer(parts, run_dir).stages[0]
    stage.select()
    return stage.open_features(), run_dir


def computed_rows(run_dir):
    return run_dir.read_json("stages/00_head/features.json")["computed_rows"]


def test_a_short_stage_is_the_same_whatever_is_kept(config, pictures, tmp_path):
    short = with_stage(config, steps=3)
    alone, run_dir = train(short, pictures, tmp_path / "alone")
    assert open_features_of(config, pictures, tmp_path / "long")[0] is not None
    after, _ = train(short, pictures, tmp_path / "after")
    for path, values in alone.items():
        np.testing.assert_array_equal(after[path], values, err_msg=path)
    assert run_dir.ledger.last(event="completed")["extractor"] is None


def test_a_run_that_goes_on_takes_the_extractor_that_it_began_with(config, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    auto = apply_overrides(config, ["cache.extractor=auto"])
    opened, _ = open_features_of(auto, pictures, "run")  # a relative path, as on the command line
    assert opened.extractor == "exact"
    monkeypatch.setattr("tlkeras.features.cache.named_by", lambda *_: "folded")  # so another machine decides
    assert open_features_of(auto, pictures, "other")[0].extractor == "folded"
    assert open_features_of(auto, pictures, "run")[0].extractor == "exact"


def test_another_head_on_the_same_data_computes_nothing(config, pictures, tmp_path):
    _, first = train(config, pictures, tmp_path / "first")
    other = apply_overrides(config, ["model.head.name=mlp", "seed=0", "stages.0.epochs=1"])
    _, second = train(other, pictures, tmp_path / "second")
    assert (computed_rows(first), computed_rows(second)) == (96, 0)
    assert second.ledger.last(event="completed")["event"] == "completed"


@pytest.mark.usefixtures("without_report")
def test_a_sweep_of_two_heads_computes_one_trunk(config, tmp_path, capsys):
    config = apply_overrides(config, [f"data.source={SHAPES}", "stages.0.epochs=1"])
    words = [("model.head.name=linear",), ("model.head.name=mlp",)]
    runs = [SweepRun(f"run_{i}", w, 0, apply_overrides(config, w)) for i, w in enumerate(words)]
    run_sweep(runs, tmp_path / "sweep")
    found = [computed_rows(RunDir(tmp_path / "sweep" / run.name)) for run in runs]
    assert found[0] > 0 and found[1] == 0


def test_several_steps_per_execution_end_at_checkpoints(model):
    assert steps_per_execution(model, 100, None) == 64
    assert steps_per_execution(model, 10, None) == 10
    assert steps_per_execution(model, 100, 30) == 30
    assert steps_per_execution(model, 100, 130) == 26
    model.select("last:1")
    assert steps_per_execution(model, 100, None) == 8


def test_adaptation_on_a_frozen_trunk_trains_as_on_pixels(config, pictures, tmp_path):
    np.savez(tmp_path / "target.npz", x_train=255 - pictures["train"][0], y_train=pictures["train"][1])
    config = apply_overrides(config, ["model.neck.bottleneck=8", "stages.0.epochs=2"])
    target = DataConfig(source=f"npz:{tmp_path / 'target.npz'}")
    adaptation = AdaptationConfig(method="dann", target=target, twin=False, options={"units": [8]})
    config = config.model_copy(update={"adaptation": adaptation})
    cached, run_dir = train(config, pictures, tmp_path / "cached")
    plain, other = train(uncached(config), pictures, tmp_path / "plain")
    for path, values in plain.items():
        np.testing.assert_allclose(cached[path], values, rtol=0, atol=1e-5, err_msg=path)
    watched = [run.read_rows(run.stage_metrics(0, "head"))[-1]["val_selection"] for run in (run_dir, other)]
    np.testing.assert_allclose(*(float(value) for value in watched), rtol=1e-4)

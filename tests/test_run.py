"""One experiment from config to run directory, looked at through its files and weights."""

import csv
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from ends_at_once import AT_ONCE
from PIL import Image
from variants import further

from tlkeras import load_model, load_run, predict, run_experiment
from tlkeras.cli.main import main
from tlkeras.config import (
    AugmentConfig,
    DataConfig,
    EarlyStoppingConfig,
    ExperimentConfig,
    HeadConfig,
    ModelConfig,
    NeckConfig,
    OptimizerConfig,
    StageConfig,
)
from tlkeras.errors import RunError, UserError
from tlkeras.run_dir import CheckpointStore, RunDir
from tlkeras.training.audit import FreezeAudit


def points(count=96, classes=3, seed=0):
    """Three clouds in four dimensions."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, count)
    x = rng.normal(size=(count, 4)) * 0.3 + np.eye(4)[y] * 2
    return x.astype("float32"), y


def pictures(count=48, seed=0):
    """Bright and dark pictures."""
    rng = np.random.default_rng(seed)
    y = np.arange(count) % 2
    x = rng.integers(0, 90, (count, 16, 16, 3)) + y[:, None, None, None] * 140
    return x.astype("uint8"), y


def vector_config(*stages, **fields) -> ExperimentConfig:
    stages = stages or (StageConfig(name="all", train="all", epochs=2),)
    model = fields.pop("model", ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8, 8]}))
    data = fields.pop("data", DataConfig(source="arrays", batch_size=16))
    return ExperimentConfig(name="test", data=data, model=model, stages=stages, **fields)


VECTORS = {"train": points(), "val": points(32, seed=1), "test": points(32, seed=2)}


def weights(run) -> list[np.ndarray]:
    return load_model(run.path / "best.keras").get_weights()


def equal(left, right) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.fixture(scope="module")
def vector_run(tmp_path_factory):
    stages = (
        StageConfig(name="head", train="head", epochs=2, optimizer=OptimizerConfig(learning_rate=0.05)),
        StageConfig(name="last", train="last:1", steps=11, optimizer=OptimizerConfig(learning_rate=0.02)),
    )
    return run_experiment(vector_config(*stages), tmp_path_factory.mktemp("runs") / "vectors", VECTORS)


def test_the_run_directory_holds_what_the_design_says(vector_run):
    files = {str(p.relative_to(vector_run.path)) for p in vector_run.path.rglob("*")}
    for name in (
        "config.json", "manifest.json", "ledger.jsonl", "best.keras", "report.html", "tensorboard",
        "stages/00_head/checkpoint", "stages/00_head/metrics.csv", "stages/00_head/DONE",
        "stages/01_last/metrics.csv", "evaluation/metrics.json", "evaluation/confusion.csv",
        "evaluation/predictions.csv",
    ):  # fmt: skip
        assert name in files


def test_the_ledger_counts_steps_and_parameters(vector_run):
    events = [json.loads(line) for line in (vector_run.path / "ledger.jsonl").read_text().splitlines()]
    done = {e["stage"]: e for e in events if e["event"] == "completed"}
    assert (done["head"]["epochs"], done["head"]["steps"]) == (2, 12)
    assert done["last"]["steps"] == 11
    assert done["head"]["trainable_parameters"] == 8 * 3 + 3
    assert done["last"]["trainable_parameters"] == 8 * 3 + 3 + 8 * 8 + 8
    assert done["head"]["frozen_parameters"] == 4 * 8 + 8 + 8 * 8 + 8
    assert {"extraction_seconds", "training_seconds", "best_metric"} <= done["head"].keys()


def test_metrics_of_every_split(vector_run):
    metrics = json.loads((vector_run.path / "evaluation/metrics.json").read_text())
    assert metrics["source"].keys() == {"train", "val", "test"}
    assert metrics["source"]["test"]["accuracy"] > 0.8
    assert {"loss", "macro_f1", "expected_calibration_error", "per_class"} <= metrics["source"]["test"].keys()
    with (vector_run.path / "evaluation/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 32
    right = np.mean([row["label"] == row["prediction"] for row in rows])
    assert right == pytest.approx(metrics["source"]["test"]["accuracy"])


def test_what_is_frozen_stays_as_it_began(vector_run):
    start, _ = CheckpointStore(vector_run.path / "stages/01_last/start").load()
    first, _ = CheckpointStore(vector_run.path / "stages/00_head/start").load()
    model = load_model(vector_run.path / "best.keras")
    after = {v.path: v.numpy() for v in model.variables}
    assert equal([first["dense_1/kernel"]], [after["dense_1/kernel"]])
    assert equal([first["dense_2/kernel"]], [start["dense_2/kernel"]])
    assert not equal([first["logits/kernel"]], [start["logits/kernel"]])


def test_metrics_csv_counts_steps_over_all_stages(vector_run):
    with (vector_run.path / "stages/01_last/metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps[-1] == 12 + 11


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory):
    """A run of one stage, with which others are compared."""
    return run_experiment(vector_config(), tmp_path_factory.mktemp("plain") / "run", VECTORS)


@pytest.mark.usefixtures("without_report")
def test_the_same_seed_twice_is_the_same_to_the_bit(plain_run, tmp_path):
    again = run_experiment(vector_config(), tmp_path / "again", VECTORS)
    other = run_experiment(vector_config(seed=plain_run.config.seed + 1), tmp_path / "other", VECTORS)
    assert equal(weights(plain_run), weights(again)) and plain_run.metrics == again.metrics
    assert not equal(weights(plain_run), weights(other))
    assert (plain_run.path / "report.html").is_file() and not (again.path / "report.html").exists()


@pytest.mark.usefixtures("without_report")
def test_one_hot_labels_are_the_same_as_class_numbers(plain_run, tmp_path):
    one_hot = {split: (x, np.eye(3)[y]) for split, (x, y) in VECTORS.items()}
    assert equal(weights(plain_run), weights(run_experiment(vector_config(), tmp_path / "hot", one_hot)))


def test_a_finished_run_says_so(plain_run, capsys):
    before = (plain_run.path / "ledger.jsonl").read_text()
    run_experiment(vector_config(), plain_run.path, VECTORS)
    assert "finished already" in capsys.readouterr().out
    assert (plain_run.path / "ledger.jsonl").read_text() == before


@pytest.mark.parametrize(
    ("task", "labels", "metric"),
    [
        ("binary", lambda y: (y == 0).astype(int), "auc"),
        ("multilabel", lambda y: np.stack([y == 0, y < 2], axis=1).astype("float32"), "exact_match"),
        ("regression", lambda y: y.astype("float32") * 2.5, "rmse"),
    ],
)
def test_other_tasks(tmp_path, task, labels, metric):
    data = {split: (x, labels(y)) for split, (x, y) in VECTORS.items()}
    stage = StageConfig(name="all", train="all", epochs=6, optimizer=OptimizerConfig(learning_rate=0.02))
    config = vector_config(stage, data=DataConfig(source="arrays", batch_size=16, task=task))
    run = run_experiment(config, tmp_path / "run", data)
    test = run.metrics["source"]["test"]
    assert test["rmse"] < 1.0 if task == "regression" else test["accuracy"] > 0.85
    assert metric in test


@pytest.mark.usefixtures("without_report")
@pytest.mark.parametrize(
    "change",
    [
        further({"class_weights": "balanced"}),
        {"class_weights": (1.0, 2.0, 3.0)},
        further({"label_smoothing": 0.1}),
        further({"augment": AugmentConfig(mixup=0.4)}),
        {"label_smoothing": 0.1, "class_weights": "balanced", "augment": AugmentConfig(mixup=0.4)},
        {"optimizer": OptimizerConfig(name="sgd", learning_rate=0.1, ema_momentum=0.9, global_clipnorm=1.0)},
        further({"optimizer": OptimizerConfig(name="adamw", learning_rate=0.02, weight_decay=0.01)}),
        {"optimizer": OptimizerConfig(learning_rate="auto")},
        {"layer_decay": 0.5, "learning_rate_multipliers": {"head": 2.0, "dense_1": 0.1}},
        further({"early_stopping": EarlyStoppingConfig(monitor="val_accuracy", patience=2)}),
        {"gradual": True, "epochs": 2},
    ],
    ids=lambda change: "+".join(change),
)
def test_what_a_stage_can_be(tmp_path, change):
    stage = {"name": "all", "train": "all", "epochs": 5, "optimizer": OptimizerConfig(learning_rate=0.02)}
    run = run_experiment(vector_config(StageConfig(**(stage | change))), tmp_path / "run", VECTORS)
    assert run.metrics["source"]["test"]["accuracy"] > 0.6


@pytest.mark.usefixtures("without_report")
def test_early_stopping_ends_a_stage_before_its_last_epoch(tmp_path):
    stage = StageConfig(
        name="all", train="all", epochs=60, optimizer=OptimizerConfig(learning_rate=0.05),
        early_stopping=EarlyStoppingConfig(monitor="val_accuracy", patience=2),
    )  # fmt: skip
    run = run_experiment(vector_config(stage), tmp_path / "run", VECTORS)
    assert RunDir(run.path).ledger.last(stage="all", event="completed")["steps"] < 60 * 6


def test_pixels_are_not_changed_where_there_are_none(tmp_path):
    stage = StageConfig(
        name="all", train="all", epochs=2, augment=AugmentConfig(flip="horizontal", noise=0.1)
    )
    with pytest.raises(
        UserError,
        match=r"stages\.all\.augment has augmentations that vectors cannot have.*and mixup.*'horizontal'",
    ):
        run_experiment(vector_config(stage), tmp_path / "run", {"train": points()})
    assert not (tmp_path / "run").exists()


def test_fewer_rows_than_a_batch(tmp_path):
    config = vector_config(data=DataConfig(source="arrays", batch_size=512))
    assert run_experiment(config, tmp_path / "run", VECTORS).metrics["source"]["train"]["rows"] == 96


def test_the_audit_names_what_moved():
    from tlkeras.models import build_model

    model = build_model(vector_config().model, input_shape=(4,), num_outputs=3)
    selection = model.select("last:1")
    audit = FreezeAudit(model, selection, "a stage")
    with pytest.raises(RunError, match="changed none"):
        audit.check()
    model.backbone.get_layer("dense_2").bias.assign_add(np.ones(8))
    audit.check()
    model.backbone.get_layer("dense_1").bias.assign_add(np.ones(8))
    with pytest.raises(RunError, match="dense_1/bias"):
        audit.check()


@pytest.fixture(scope="module")
def image_run(tmp_path_factory):
    """A run on a folder of pictures, started through the command line."""
    root = tmp_path_factory.mktemp("images")
    x, y = pictures()
    for i, (image, label) in enumerate(zip(x, y, strict=True)):
        folder = root / "data" / ("bright" if label else "dark")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    words = [
        "train", "--config=image_folder", f"--workdir={root / 'run'}",
        "--set", f"data.source=folder:{root / 'data'}", "--set", "model.backbone=small_cnn",
        "--set", "model.weights=none", "--set", "model.fallback=none", "--set", "data.image_size=16",
        "--set", "data.batch_size=8", "--set", "stages.0.epochs=2", "--set", "stages.1.epochs=10",
        "--set", "stages.1.train=all", "--set", "stages.1.optimizer.schedule.warmup_steps=2",
        "--set", "stages.1.optimizer.learning_rate=0.01",
    ]  # fmt: skip
    assert main(words) == 0
    return load_run(root / "run")


def test_best_keras_opens_without_tlkeras_and_gives_the_same_logits(image_run, tmp_path):
    x, _ = pictures(8, seed=5)
    np.save(tmp_path / "x.npy", x)
    program = (
        "import sys; sys.modules['tlkeras'] = None\n"
        "import keras, numpy as np\n"
        f"x = np.load({str(tmp_path / 'x.npy')!r}).astype('float32')\n"
        f"model = keras.models.load_model({str(image_run.path / 'best.keras')!r})\n"
        f"np.save({str(tmp_path / 'logits.npy')!r}, model.predict(x, verbose=0))"
    )
    subprocess.run([sys.executable, "-c", AT_ONCE + program], check=True, capture_output=True)
    logits = np.load(tmp_path / "logits.npy") / image_run.temperature
    np.testing.assert_allclose(logits, image_run.predict(x).logits, atol=1e-5)


def test_predict_takes_files_of_any_size_and_names_the_unreadable(image_run, tmp_path, capsys):
    Image.new("RGB", (50, 31), (250, 250, 250)).save(tmp_path / "light.jpg")
    Image.new("L", (9, 9), 5).save(tmp_path / "night.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    assert main(["predict", str(image_run.path), str(tmp_path), "--format=jsonl"]) == 0
    captured = capsys.readouterr()
    found = {
        json.loads(line)["file"].rsplit("/", 1)[-1]: json.loads(line) for line in captured.out.splitlines()
    }
    assert {name: row["prediction"] for name, row in found.items()} == {
        "light.jpg": "bright",
        "night.png": "dark",
    }
    assert sum(found["light.jpg"]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert "broken.png" in captured.err
    assert len(predict(image_run.path, [tmp_path / "light.jpg"])) == 1


def test_evaluate_writes_the_same_numbers_again(image_run):
    before = (image_run.path / "evaluation/metrics.json").read_text()
    (image_run.path / "evaluation/metrics.json").unlink()
    assert main(["evaluate", str(image_run.path)]) == 0
    after = json.loads((image_run.path / "evaluation/metrics.json").read_text())
    assert after["source"]["test"]["accuracy"] == json.loads(before)["source"]["test"]["accuracy"]


@pytest.mark.usefixtures("without_report")
def test_a_cosine_head_opens_with_load_model(tmp_path):
    model = ModelConfig(backbone="mlp", weights=None, head=HeadConfig(name="cosine"))
    run = run_experiment(vector_config(model=model), tmp_path / "run", VECTORS)
    assert load_model(run.path / "best.keras").predict(VECTORS["test"][0], verbose=0).shape == (32, 3)


@pytest.mark.usefixtures("without_report")
def test_an_earlier_run_gives_its_weights(vector_run, tmp_path):
    model = ModelConfig(
        backbone="mlp", weights=str(vector_run.path), backbone_options={"units": [8, 8]},
        neck=NeckConfig(dropout=0.1),
    )  # fmt: skip
    config = vector_config(StageConfig(name="head", train="head", epochs=1), model=model)
    run = run_experiment(config, tmp_path / "run", VECTORS)
    kernels = [
        keras.ops.convert_to_numpy(load_model(r.path / "best.keras").get_layer("dense_1").kernel)
        for r in (run, vector_run)
    ]
    assert equal(kernels[:1], kernels[1:])

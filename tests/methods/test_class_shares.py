"""The classes that are answered on the target, counted while it trains."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from tlkeras import run_experiment
from tlkeras.config import AdaptationConfig, DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.report import write_report
from tlkeras.run_dir import RunDir
from tlkeras.training.class_shares import ClassSharesLog

NAMES = ("=1+1", "up/down\nnot", "up/down not")
FILE = "stages/01_adapt/class_shares.csv"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Three classes of hostile names, of which the third is rare; the second stage adapts."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [40, 30, 10])
    x = (labels[:, None] * [1.0, -1.0] + 0.2 * rng.normal(size=(80, 2))).astype("float32")
    np.savez(folder / "source.npz", x=x, y=np.array(NAMES)[labels])
    np.savez(folder / "target.npz", x=x[:60] + np.float32(0.3))
    optimizer = {"learning_rate": 0.02}
    return ExperimentConfig(
        name="counted",
        data=DataConfig(source=f"npz:{folder / 'source.npz'}", batch_size=8),
        model=ModelConfig(backbone="mlp", weights=None, backbone_options={"units": [8]}),
        stages=[
            StageConfig(name="source", train="all", epochs=1, adapt=False, optimizer=optimizer),
            StageConfig(name="adapt", train="all", epochs=4, optimizer=optimizer),
        ],
        adaptation=AdaptationConfig(
            target=DataConfig(source=f"npz:{folder / 'target.npz'}"), options={"units": [8]}, twin=False
        ),
        checkpoint={"every_steps": 2},
    )


@pytest.fixture(scope="module")
def counted(config, tmp_path_factory):
    return run_experiment(config, tmp_path_factory.mktemp("counted") / "run").path


def lines(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def shares(run) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the source's and the target's shares of each epoch."""
    columns = ("source_labels", "target_predictions")
    values = np.array([[float(row[column]) for column in columns] for row in lines(run / FILE)])
    return [tuple(epoch.T) for epoch in values.reshape(-1, len(NAMES), 2)]


def scalars(run) -> list[tuple[int, str, float]]:
    found = []
    for path in sorted((run / "tensorboard").glob("events*")):
        for record in tf.data.TFRecordDataset(str(path)):
            event = event_pb2.Event.FromString(record.numpy())
            values = [value for value in event.summary.value if value.tag.startswith("class_shares")]
            found += [(event.step, value.tag, float(tf.make_ndarray(value.tensor))) for value in values]
    return sorted(found)


def test_each_epoch_has_a_line_for_each_class(counted):
    rows, metrics = lines(counted / FILE), lines(counted / "stages/01_adapt/metrics.csv")
    assert [row["epoch"] for row in rows] == [str(e) for e in range(1, 5) for _ in NAMES]
    assert [row["step"] for row in rows[:: len(NAMES)]] == [row["step"] for row in metrics]
    assert {row["class"] for row in rows} == {"'=1+1", *NAMES[1:]}  # no formula for a spreadsheet
    for row, (source, target) in zip(metrics, shares(counted), strict=True):
        assert source.sum() == pytest.approx(1) and target.sum() == pytest.approx(1)
        assert np.abs(source - target).sum() / 2 == pytest.approx(float(row["target_class_shift"]), abs=1e-6)
    assert 0 < source[2] < source[1] < source[0]
    assert not (counted / "stages/00_source/class_shares.csv").exists()


def test_tensorboard_shows_them(counted):
    found, steps = scalars(counted), [int(row["step"]) for row in lines(counted / FILE)[:: len(NAMES)]]
    sides = ("class_shares_source_labels", "class_shares_target_predictions")
    tags = {f"{side}/{name}" for side in sides for name in ("0 =1+1", "1 up down not", "2 up down not")}
    assert {tag for _, tag, _ in found} == tags
    got = [value for _, tag, value in found if tag == "class_shares_target_predictions/0 =1+1"]
    np.testing.assert_allclose(got, [target[0] for _, target in shares(counted)], atol=1e-6)
    assert len(found) == len(tags) * len(steps)


def test_a_run_that_goes_on_has_no_line_twice(config, counted, tmp_path, monkeypatch):
    epoch = 2
    write = ClassSharesLog.on_epoch_end

    def stop(self, number, logs=None):
        write(self, number, logs)
        if number == epoch and self.newest:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ClassSharesLog, "on_epoch_end", stop)
        with pytest.raises(KeyboardInterrupt):
            run_experiment(config, tmp_path / "run")
    assert lines(tmp_path / "run" / FILE)[-1]["epoch"] == str(epoch + 1)
    run_experiment(config, tmp_path / "run")
    assert (tmp_path / "run" / FILE).read_bytes() == (counted / FILE).read_bytes()
    assert scalars(tmp_path / "run") == scalars(counted)


@pytest.mark.parametrize("is_chief", [True, False])
def test_all_workers_count_and_the_chief_writes(is_chief, tmp_path):
    counts = {"source": np.array([0.5, 0.5]), "target": np.array([1.0, 0.0])}
    parts = SimpleNamespace(
        source=SimpleNamespace(class_names=("a", "b"), task="multiclass"),
        runtime=SimpleNamespace(is_chief=is_chief),
    )
    counter = SimpleNamespace(epoch=0, step_of_run=17)
    log = ClassSharesLog(RunDir(tmp_path), tmp_path / "stages/00_adapt", parts, counter)
    term = SimpleNamespace(own=SimpleNamespace(histogram=SimpleNamespace(shares=lambda: counts)))
    log.set_model(SimpleNamespace(terms=(term,)))
    log.on_train_begin()
    log.on_epoch_end(0)
    assert log.newest["target_predictions"].tolist() == [1, 0]
    assert log.path.is_file() == is_chief
    if is_chief:
        assert log.path.read_text().splitlines()[1:] == ["1,17,a,0.5,1.0", "1,17,b,0.5,0.0"]


def test_the_report_shows_how_they_went(counted):
    page = write_report(counted).read_text()
    assert "Predictions on the target during training" in page
    assert all(f">epoch {epoch}</th>" in page for epoch in (1, 3, 4))
    assert f"{100 * shares(counted)[-1][1][0]:.1f} %" in page

"""A loss that is no number stops the stage by name, and leaves the last good checkpoint."""

import math

import numpy as np
import pytest
from fault_words import settings, train

from tlkeras.config import load_config
from tlkeras.errors import RunError
from tlkeras.run_dir import CheckpointStore
from tlkeras.studies.experiment import run_experiment


def vectors(rows=64):
    """Returns arrays of two classes."""
    rng = np.random.default_rng(0)
    y = np.arange(rows) % 2
    x = rng.normal(size=(rows, 6)).astype(np.float32) + 2 * y[:, None]
    return x, y


@pytest.fixture
def config(tmp_path):
    """Makes configs of an experiment on vectors that trains within seconds."""
    fixed = [
        "data.source=synthetic:blobs",
        "data.image_size=none",
        "data.batch_size=16",
        "model.backbone=mlp",
        "model.neck.bottleneck=8",
        "stages.0.epochs=1",
        "stages.1.epochs=3",
        "stages.1.augment={}",
        "checkpoint.every_steps=1",
    ]
    return lambda *more: load_config("synthetic_full", [*fixed, *more])


OVERFLOW = (
    "stages.1.optimizer.name=sgd",
    "stages.1.optimizer.learning_rate=1e30",
    'stages.1.optimizer.schedule={"warmup_steps": 0}',
)


def test_loss_that_is_no_number_names_stage_step_rate_and_rows(config, tmp_path):
    x, y = vectors()
    x[5] = 3e38  # finite, so that the data may pass, and too large for any product
    data = {"train": (x, y), "val": vectors(16), "test": vectors(16)}
    with pytest.raises(RunError) as raised:
        run_experiment(config(), tmp_path / "run", data)
    said = str(raised.value)
    assert "stage 'head'" in said and "learning rate 0.01" in said and "last good checkpoint" in said, said
    names = said.partition("Rows of that step: ")[2]
    # of 16 rows the first 8 are shown
    assert "train:5," in names or "and 8 more" in names, said


def test_weights_that_overflow_are_never_saved(config, tmp_path):
    with pytest.raises(RunError) as raised:
        run_experiment(config(*OVERFLOW, "data.limit=32"), tmp_path / "run", {"train": vectors()})
    said = str(raised.value)
    assert "in stage 'all' at step" in said and "1e+30" in said and "Rows of that step: train:" in said, said
    store = CheckpointStore(tmp_path / "run/stages/01_all/checkpoint")
    for arrays, state in filter(None, [store.load()]):
        assert all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f")
        assert math.isfinite(state["best"]["rank"][1])
    best, _ = CheckpointStore(tmp_path / "run/stages/best").load()
    assert all(np.isfinite(a).all() for a in best.values() if a.dtype.kind == "f")
    # what was done before stands: the same command goes on, and fails at the same place
    with pytest.raises(RunError, match="stage 'all'"):
        run_experiment(config(*OVERFLOW, "data.limit=32"), tmp_path / "run", {"train": vectors()})


def test_exit_code_is_1_with_one_line(server, tmp_path):
    words = train(tmp_path, *settings(*OVERFLOW))
    ended = server.run(*words)
    assert ended.code == 1 and len(ended.error.splitlines()) == 1, ended
    assert "in stage 'all' at step" in ended.error and "Traceback" not in ended.output

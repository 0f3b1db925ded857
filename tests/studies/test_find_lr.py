import csv

import numpy as np
import pytest

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, ProbeConfig, StageConfig
from tlkeras.errors import UserError
from tlkeras.run_dir import RunDir
from tlkeras.studies.learning_rate import find_lr
from tlkeras.training.find_lr import FIRST_RATE, LAST_RATE, TEST_STEPS, steepest


@pytest.fixture
def config(tmp_path):
    stages = [StageConfig(name="head", epochs=1), StageConfig(name="all", train="all", epochs=1)]
    return ExperimentConfig(
        data=DataConfig(source="digits", image_size=8, limit=96, batch_size=16),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [4]}),
        stages=stages,
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
    )


def test_the_stages_before_are_trained_and_the_curve_is_kept(config, tmp_path, capsys):
    rate, path = find_lr(config, 1, tmp_path / "found")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [float(row["learning_rate"]) for row in rows if row["chosen"] == "1"] == [rate]
    assert FIRST_RATE < rate < LAST_RATE and len(rows) > 10
    ledger = RunDir(tmp_path / "found").ledger
    assert ledger.last(stage="head", event="completed") and not ledger.last(stage="all", event="started")
    capsys.readouterr()
    assert find_lr(config, 1, tmp_path / "found") == (rate, path)
    assert "epoch" not in capsys.readouterr().out  # read, not tested again
    with pytest.raises(UserError, match="another config"):
        find_lr(config.model_copy(update={"seed": 1}), 1, tmp_path / "found")


@pytest.mark.parametrize(
    ("index", "said"), [(2, "Allowed: 0..1. Received: stage=2"), (0, "A probe has no training steps")]
)
def test_a_stage_that_takes_no_steps_is_refused_untouched(config, tmp_path, index, said):
    probe = StageConfig(name="fit", probe=ProbeConfig(name="logistic_regression"))
    config = config.model_copy(update={"stages": (probe, config.stages[1])})
    with pytest.raises(UserError, match=said):
        find_lr(config, index, tmp_path / "found")
    assert not (tmp_path / "found").exists()


def test_a_drop_in_the_first_steps_is_noise():
    rates = list(np.geomspace(FIRST_RATE, LAST_RATE, TEST_STEPS))
    losses = [2.0 - (0.5 if i > 50 else 0.0) for i in range(TEST_STEPS)]
    losses[0] = 4.0  # the first batch happened to be hard
    assert steepest(rates, losses) > rates[40]

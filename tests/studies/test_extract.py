"""The extraction alone: what it stores is what a run then reads."""

import pytest

from tlkeras.cli.main import main
from tlkeras.config import (
    CacheConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
    load_config,
)
from tlkeras.errors import UserError
from tlkeras.features.store import FeatureStore
from tlkeras.studies.experiment import run_experiment
from tlkeras.studies.extract import extract


@pytest.fixture
def config(tmp_path):
    stages = [
        StageConfig(name=name, train=train, epochs=2, optimizer=OptimizerConfig(learning_rate=1e-2))
        for name, train in (("head", "head"), ("last", "last:1"), ("all", "all"))
    ]
    return ExperimentConfig(
        data=DataConfig(source="synthetic:shapes?n=60&size=16", image_size=16, batch_size=8),
        model=ModelConfig(backbone="small_cnn", weights=None, backbone_options={"filters": [4, 4]}),
        stages=stages,
        cache=CacheConfig(dir=str(tmp_path / "cache")),
    )


@pytest.mark.usefixtures("without_report")
def test_a_run_finds_what_was_extracted(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    computed = extract(config)
    assert list(computed) == ["head", "last"] and min(computed.values()) > 40
    assert "all: nothing to extract" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
    keys = {info.key for info in FeatureStore(config.cache.dir).entries()}
    assert sum(extract(config).values()) == 0
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    assert main(["extract", f"--config={path}", "--strategy=multi_worker"]) == 0
    assert "head: all features are stored, 0 rows" in capsys.readouterr().out
    assert main(["extract", f"--config={path}", "--workers=a:1,b:2"]) == 2
    run = run_experiment(config.model_copy(update={"stages": config.stages[:2]}), tmp_path / "run")
    assert load_config(str(run.path / "config.json")).cache.dir == config.cache.dir
    assert {info.key for info in FeatureStore(config.cache.dir).entries()} >= keys
    assert "features of an earlier run are reused" in capsys.readouterr().out


def test_a_config_without_stored_features_is_refused(config):
    with pytest.raises(UserError, match=r"nothing to extract. Received: stages.all.train=all"):
        extract(config.model_copy(update={"stages": config.stages[2:]}))
    with pytest.raises(UserError, match="several runs"):
        data = config.data.model_copy(update={"folds": 3})
        extract(config.model_copy(update={"data": data}))

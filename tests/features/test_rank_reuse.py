import keras
import numpy as np
import pytest

from tlkeras.config import DataConfig, ExperimentConfig, ModelConfig, StageConfig
from tlkeras.data import load_domain
from tlkeras.evaluation.transfer_scores import SCORES
from tlkeras.features.cache import FeatureCache
from tlkeras.models import BACKBONES
from tlkeras.models.backbones.preprocessing import build_preprocessing
from tlkeras.models.cuts.graph import replay
from tlkeras.models.source_head import network_with_head
from tlkeras.models.weights.files import wheel_file
from tlkeras.prepare import prepare
from tlkeras.run_dir import RunDir
from tlkeras.studies.rank import rank
from tlkeras.training.trainer import Trainer

ROW = BACKBONES.get("efficientnet_lite0")


@pytest.mark.skipif(wheel_file(ROW)[0] is None, reason="the package with the weights is not installed")
def test_ranking_takes_the_features_that_a_head_was_trained_on(tmp_path, monkeypatch):
    config = ExperimentConfig(
        data=DataConfig(source="synthetic:shapes?n=24&size=32", image_size=32, batch_size=8),
        model=ModelConfig(backbone=ROW.name, weights="imagenet"),
        stages=[StageConfig(name="head", epochs=1)],
        cache={"dir": str(tmp_path / "cache"), "extractor": "exact"},
    )
    parts = prepare(config)
    trainer = Trainer(parts, RunDir(tmp_path / "run"))
    parts.model.select("head")
    assert trainer.stages[0].open_features().computed_rows > 24  # val too
    computed, opening = [], FeatureCache.open

    def noted(*arguments, **settings):
        opened = opening(*arguments, **settings)
        computed.append(opened.computed_rows)
        return opened

    monkeypatch.setattr(FeatureCache, "open", noted)
    (row,) = rank(config, f"{ROW.name}:imagenet", tmp_path / "ranking")
    assert computed == [0]
    assert row["features"] == 1280 and row["parameters"] == parts.model.trunk().count_params()
    assert row["leep"] == pytest.approx(leep_of_the_whole_network(config), abs=1e-4)


def leep_of_the_whole_network(config):
    domain = load_domain(config.data, seed=0, default_image_size=32)
    train = domain.splits["train"]
    net = network_with_head(ROW.name, (32, 32, 3))
    inputs = keras.Input((32, 32, 3))
    logits = replay(net, replay(build_preprocessing(ROW.family.preprocessing, (32, 32, 3)), inputs))
    whole = keras.Model(inputs, logits)
    found = keras.ops.softmax(whole.predict(train.inputs.astype("float32"), verbose=0))
    return SCORES.get("leep")(np.asarray(found, np.float64), train.labels.astype(int))

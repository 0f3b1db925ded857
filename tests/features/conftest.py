"""A small case: pictures in memory, a random network whose outputs differ between rows."""

import weakref

import keras
import numpy as np
import pytest

from tlkeras.config import (
    CacheConfig,
    DataConfig,
    ExperimentConfig,
    ModelConfig,
    OptimizerConfig,
    StageConfig,
)
from tlkeras.data import load_domain
from tlkeras.features import arrays
from tlkeras.models import build_model


@pytest.fixture(autouse=True)
def budget_of_its_own(monkeypatch):
    """Features that another test's run still holds do not count here."""
    monkeypatch.setattr(arrays, "_in_memory", weakref.WeakValueDictionary())


@pytest.fixture
def pictures():
    """Returns arrays of three splits of noise with a brightness that tells the class."""
    rng = np.random.default_rng(0)

    def split(count):
        y = np.arange(count) % 3
        x = rng.integers(0, 120, (count, 16, 16, 3)) + 60 * y[:, None, None, None]
        return x.astype(np.uint8), y

    return {"train": split(75), "val": split(21), "test": split(24)}


@pytest.fixture
def config(tmp_path):
    """Returns an experiment with one stage on a frozen trunk; nothing of it lies outside tmp_path."""
    return ExperimentConfig(
        data=DataConfig(source="npz:memory", image_size=16, batch_size=8),
        model=ModelConfig(backbone="small_cnn", weights=None),
        stages=[StageConfig(name="head", epochs=3, optimizer=OptimizerConfig(learning_rate=1e-2))],
        cache=CacheConfig(dir=str(tmp_path / "cache"), extractor="exact"),
    )


@pytest.fixture
def domain(config, pictures):
    """Returns the pictures as a domain."""
    return load_domain(config.data, seed=0, arrays=pictures)


@pytest.fixture
def model(config, domain):
    """Returns a model whose BatchNorm statistics are random, so that its features tell rows apart."""
    model = build_model(config.model, input_shape=domain.input_shape, num_outputs=3, seed=0)
    rng = np.random.default_rng(1)
    for layer in model.backbone._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(0, 0.1, layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.02, 0.1, layer.moving_variance.shape))
    return model

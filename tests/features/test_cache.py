import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ends_at_once import AT_ONCE

from tlkeras.config import AugmentConfig, CacheConfig
from tlkeras.errors import UserError
from tlkeras.features import cache as cache_module
from tlkeras.features import extractor_choice as choice
from tlkeras.features import extractors
from tlkeras.features.cache import FeatureCache, NotWorthwhile
from tlkeras.features.extractors import EXTRACTORS, Trunk, relative_difference
from tlkeras.features.identity import Request, identity_of

ROWS = np.arange(75)


def opened(config, model, domain, split="train", **update):
    cache = FeatureCache(config.cache.model_copy(update=update))
    return cache.open(model.trunk(), [Request(domain.splits[split], domain, split)])


def expected(model, domain, split="train"):
    return model.trunk().predict(domain.splits[split].inputs.astype("float32"), verbose=0)


def test_features_are_the_trunks_outputs_in_the_order_of_rows(config, model, domain):
    result = opened(config, model, domain)
    assert result.computed_rows == 75 and result.extractor == "exact"
    received = result.features[0].take(np.arange(75))
    np.testing.assert_allclose(received, expected(model, domain), rtol=1e-5, atol=1e-6)
    assert np.ptp(received, axis=0).max() > 0.1  # rows differ, so the comparison says something


def test_a_second_time_nothing_is_computed(config, model, domain):
    opened(config, model, domain)
    assert opened(config, model, domain).computed_rows == 0


@pytest.mark.parametrize(
    "change", ["weights", "data", "labels", "size", "resize", "split", "dtype", "extractor"]
)
def test_the_key_changes_with_everything_that_features_depend_on(config, model, domain, change):
    cache = FeatureCache(config.cache)
    request = Request(domain.splits["train"], domain, "train")
    before = cache.key(identity_of(model.trunk()), request, "exact")
    assert cache.key(identity_of(model.trunk()), request, "exact") == before
    extractor = "folded" if change == "extractor" else "exact"
    if change == "weights":
        variable = model.backbone.variables[0]
        variable.assign(variable + 1e-6)
    elif change == "data":
        request.rows.inputs[7, 3, 3, 0] ^= 1
        request = Request(domain.splits["train"].take(np.arange(75)), domain, "train")
    elif change == "labels":
        request = Request(domain.splits["train"].take(np.arange(74)), domain, "train")
    elif change in ("size", "resize"):
        update = {"crop_fraction": 0.9} if change == "size" else {"resize": "pad"}
        changed = dataclasses.replace(domain, config=domain.config.model_copy(update=update))
        request = Request(changed.splits["train"], changed, "train")
    elif change == "split":
        request = Request(domain.splits["train"], domain, "val")
    elif change == "dtype":
        cache = FeatureCache(config.cache.model_copy(update={"dtype": "float16"}))
    assert cache.key(identity_of(model.trunk()), request, extractor) != before


def test_what_trains_does_not_change_the_key(config, model, domain):
    before = identity_of(model.trunk())
    model.head.trainable_variables[0].assign_add(keras.ops.ones_like(model.head.trainable_variables[0]))
    model.select("last:1")
    model.select("head")
    assert identity_of(model.trunk()) == before
    model.select("last:1")
    assert identity_of(model.trunk()) != before


def test_the_identity_is_the_same_in_another_process(config, domain):
    code = AT_ONCE + (
        "from tlkeras.models import build_model; from tlkeras.config import ModelConfig;"
        "from tlkeras.features.identity import identity_of; import json;"
        "m = build_model(ModelConfig(backbone='small_cnn', weights=None), input_shape=(16, 16, 3),"
        " num_outputs=3, seed=0); m.trunk(); print(json.dumps(identity_of(m.trunk())))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TF_CPP_MIN_LOG_LEVEL": "3"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    from tlkeras.models import build_model

    here = build_model(config.model, input_shape=(16, 16, 3), num_outputs=9, seed=0)
    assert json.loads(result.stdout.splitlines()[-1]) == identity_of(here.trunk())


def test_a_damaged_entry_is_computed_again(config, model, domain, capsys):
    result = opened(config, model, domain)
    values = result.features[0].take(np.arange(75))
    del result
    (path,) = Path(config.cache.dir).glob("features/*/00000.bin")
    content = bytearray(path.read_bytes())
    content[5] ^= 255
    path.write_bytes(content)
    again = opened(config, model, domain)
    assert again.computed_rows == 75 and "damaged" in capsys.readouterr().out
    np.testing.assert_array_equal(again.features[0].take(np.arange(75)), values)


@pytest.mark.parametrize(("dtype", "error"), [("float16", 1e-3), ("bfloat16", 1e-2)])
def test_half_precision_is_close(config, model, domain, dtype, error):
    received = opened(config, model, domain, dtype=dtype).features[0].take(np.arange(75))
    assert received.dtype.itemsize == 2
    difference = np.abs(received.astype(np.float32) - expected(model, domain))
    assert 0 < difference.max() < error * np.abs(received.astype(np.float32)).max()


def test_float16_refuses_what_it_cannot_hold(config, model, domain):
    scale = [v for v in model.backbone.variables if v.path.endswith("gamma")][-1]
    scale.assign(scale + 1e6)
    with pytest.raises(UserError, match="bfloat16"):
        opened(config, model, domain, dtype="float16")


def test_without_a_folder_features_stay_in_memory(config, model, domain, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    directory = str(tmp_path / "file" / "cache")
    features = opened(config, model, domain, dir=directory).features[0]
    assert "memory only" in capsys.readouterr().out and len(features) == 75
    with pytest.raises(NotWorthwhile):
        opened(config, model, domain, dir=directory, memory_mb=0)


def test_features_slower_to_read_than_to_compute_are_not_kept(config, model, domain, monkeypatch):
    monkeypatch.setattr(cache_module, "DISK_BYTES_PER_SECOND", 1.0)
    with pytest.raises(NotWorthwhile, match="no faster"):
        opened(config, model, domain, memory_mb=0, extractor="auto")


def test_views_are_the_augmented_pixels_of_training(config, model, domain):
    augment = AugmentConfig(flip="horizontal", rotation=30)
    cache = FeatureCache(config.cache)
    requests = [Request(domain.splits["train"], domain, "train", augment, 5, view) for view in range(2)]
    first, second = cache.open(model.trunk(), requests).features
    rows = np.arange(75)
    assert np.abs(first.take(rows) - second.take(rows)).max() > 0.01
    assert np.abs(first.take(rows) - expected(model, domain)).max() > 0.01


@pytest.mark.parametrize("name", ["folded", "tflite"])
def test_extractors_agree_with_exact(model, domain, name):
    trunk = Trunk(model.trunk(), 25)
    extract, exact = EXTRACTORS.get(name)(trunk), EXTRACTORS.get("exact")(trunk)
    pixels = domain.splits["train"].inputs.astype("float32").reshape(3, 25, 16, 16, 3)
    received = np.concatenate([extract(x) for x in pixels])
    wanted = np.concatenate([exact(x) for x in pixels])
    assert relative_difference(received, wanted) < 1e-4
    agree = model.classify(model._route.value.after_cut(received, False)).numpy().argmax(1)
    alike = model.classify(model._route.value.after_cut(wanted, False)).numpy().argmax(1)
    assert (agree == alike).mean() >= 0.995


def test_an_extractor_that_differs_is_not_trusted(config, model, domain, monkeypatch, capsys):
    exact = EXTRACTORS.get("exact")
    monkeypatch.setitem(EXTRACTORS._entries, "folded", lambda trunk: lambda x: exact(trunk)(x) * 1.01)
    assert opened(config, model, domain, extractor="folded").extractor == "exact"
    assert "tolerance" in capsys.readouterr().out


def test_the_default_takes_no_features_of_another_extractor(config, model, domain):
    default = CacheConfig(dir=config.cache.dir).extractor
    before = opened(config, model, domain, extractor=default, dir=config.cache.dir + "2")
    assert opened(config, model, domain, extractor="folded").extractor == "folded"
    after = opened(config, model, domain, extractor=default)
    assert (after.extractor, after.computed_rows) == (before.extractor, 75) == ("exact", 75)
    np.testing.assert_array_equal(after.features[0].take(ROWS), before.features[0].take(ROWS))


@pytest.mark.parametrize("kept", [None, "exact", "folded", "tflite"])
def test_auto_is_a_rule_that_does_not_look_at_what_is_kept(config, model, domain, monkeypatch, kept):
    """XNNPACK is worth its start-up only for many rows of depthwise convolutions."""
    if kept is not None:
        opened(config, model, domain, extractor=kept)
    assert opened(config, model, domain, extractor="auto").extractor == "exact"
    monkeypatch.setattr(choice, "suits_xnnpack", lambda trunk: True)
    assert opened(config, model, domain, extractor="auto").extractor == "exact"  # 75 rows
    monkeypatch.setattr(choice, "CORE_RATE", 1e6)
    assert opened(config, model, domain, extractor="auto").extractor == "tflite"


def test_operations_are_counted_at_every_place_of_the_output():
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = keras.layers.DepthwiseConv2D(3, 2, padding="same")(x)
    outputs = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(x))
    trunk = Trunk(keras.Model(inputs, outputs), 4)
    assert choice.operations(trunk) == 2 * (3 * 3 * 3 * 4 * 64 + 3 * 3 * 4 * 16 + 4 * 5)


def test_whether_features_pay_does_not_depend_on_what_is_kept(config, model, domain, monkeypatch):
    opened(config, model, domain, memory_mb=0)
    monkeypatch.setattr(cache_module, "DISK_BYTES_PER_SECOND", 1.0)
    with pytest.raises(NotWorthwhile, match="no faster"):
        opened(config, model, domain, memory_mb=0)
    cache = FeatureCache(config.cache.model_copy(update={"memory_mb": 0}))
    request = Request(domain.splits["train"], domain, "train")
    assert cache.open(model.trunk(), [request], extractor="exact").computed_rows == 0  # a run that goes on


def test_replicas_share_a_batch(model, domain):
    if len(tf.config.list_logical_devices("CPU")) < 2:
        pytest.skip("needs two logical devices")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert extractors.Trunk(model.trunk(), 4, strategy).replicas == 2

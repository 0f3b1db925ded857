"""Several processes at one cache: none takes what another one is making."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from tlkeras.cli.main import main
from tlkeras.features.cache import FeatureCache, _Work
from tlkeras.features.identity import Request
from tlkeras.features.store import FeatureStore

KEY = "0123456789abcdef" * 2
ROWS = np.arange(75)


def opened(config, model, domain, **update):
    cache = FeatureCache(config.cache.model_copy(update=update))
    return cache.open(model.trunk(), [Request(domain.splits["train"], domain, "train")])


def during_extraction(monkeypatch, action, times=1):
    """Does something each time the first batch of an extraction has been computed."""
    outputs, left = _Work._outputs, [times]

    def acting(self, request):
        for number, item in enumerate(outputs(self, request)):
            yield item
            if number == 0 and left[0]:
                left[0] -= 1
                action()

    monkeypatch.setattr(_Work, "_outputs", acting)


@pytest.mark.parametrize("memory_mb", [64, 0], ids=["memory", "files"])
def test_clearing_leaves_an_extraction_alone(config, model, domain, monkeypatch, capsys, memory_mb):
    wanted = opened(config, model, domain, enabled=True, dir=config.cache.dir + "2").features[0].take(ROWS)
    opened(config, model, domain, dtype="float16")
    during_extraction(monkeypatch, lambda: main(["cache", "clear", "--yes", f"--dir={config.cache.dir}"]))
    result = opened(config, model, domain, memory_mb=memory_mb)
    np.testing.assert_array_equal(result.features[0].take(ROWS), wanted)
    (info,) = FeatureStore(config.cache.dir).entries()
    assert info.dtype == "float32"  # what nobody was making is gone
    said = capsys.readouterr().out
    assert f"{info.key[:12]} is being computed by a run, and is kept" in said
    assert opened(config, model, domain).computed_rows == 0


def test_clearing_one_entry_leaves_it_to_who_makes_it_again(tmp_path, capsys):
    store = FeatureStore(tmp_path)
    with store.writing(KEY, 2, (3,), "float32", {}) as writer:
        writer.append(np.zeros((2, 3), np.float32))
    with store.locked(KEY):
        assert main(["cache", "clear", "01", f"--dir={tmp_path}"]) == 0
        assert "is kept" in capsys.readouterr().out and store.find(KEY) is not None
    assert main(["cache", "clear", "01", f"--dir={tmp_path}"]) == 0
    assert store.find(KEY) is None


def test_who_waited_for_a_lock_that_was_removed_does_not_hold_it(tmp_path):
    """Else a third process would make the lock anew and hold it at the same time."""
    store, order = FeatureStore(tmp_path), []

    def waits():
        with store.locked(KEY):
            order.append("second in")
            time.sleep(0.5)
            order.append("second out")

    with store.locked(KEY):
        thread = threading.Thread(target=waits)
        thread.start()
        time.sleep(0.3)
        (tmp_path / "locks" / KEY).unlink()
    while not order:
        time.sleep(0.01)
    with store.locked(KEY):
        order.append("third in")
    thread.join(5)
    assert order == ["second in", "second out", "third in"]


@pytest.mark.parametrize("memory_mb", [64, 0], ids=["memory", "files"])
def test_files_that_somebody_deletes_meanwhile_are_made_again(config, model, domain, monkeypatch, memory_mb):
    wanted = opened(config, model, domain, dir=config.cache.dir + "2").features[0].take(ROWS)
    during_extraction(monkeypatch, lambda: shutil.rmtree(config.cache.dir))
    result = opened(config, model, domain, memory_mb=memory_mb)
    np.testing.assert_array_equal(result.features[0].take(ROWS), wanted)


def test_an_entry_lost_as_soon_as_it_is_made_is_used_all_the_same(config, model, domain, monkeypatch, capsys):
    find = FeatureStore.find
    monkeypatch.setattr(FeatureStore, "find", lambda self, key: None)
    result = opened(config, model, domain)
    assert len(result.features[0].take(ROWS)) == 75 and result.computed_rows == 75
    assert "memory only" in capsys.readouterr().out
    monkeypatch.setattr(FeatureStore, "find", find)


PROCESS = """
import sys, time
import numpy as np
from pathlib import Path
from tlkeras.config import CacheConfig, DataConfig, ModelConfig
from tlkeras.data import load_domain
from tlkeras.features.cache import FeatureCache, _Work
from tlkeras.features.identity import Request
from tlkeras.models import build_model

folder, name = Path(sys.argv[1]), sys.argv[2]
pixels = np.random.default_rng(0).integers(0, 255, (40, 16, 16, 3)).astype(np.uint8)
arrays = {"train": (pixels, np.arange(40) % 2), "test": (pixels[:4], np.arange(4) % 2)}
domain = load_domain(DataConfig(source="npz:memory", image_size=16), seed=0, arrays=arrays)
model = build_model(ModelConfig(backbone="small_cnn", weights=None), input_shape=(16, 16, 3), num_outputs=2)
outputs = _Work._outputs

def slow(self, request):
    time.sleep(1.0)
    yield from outputs(self, request)

_Work._outputs = slow
trunk, rows = model.trunk(), domain.splits["train"]
cache = FeatureCache(CacheConfig(dir=str(folder / "cache"), extractor="exact"))
(folder / name).touch()
while len(list(folder.glob("ready*"))) < 2:
    time.sleep(0.01)
opened = cache.open(trunk, [Request(rows, domain, "train")])
np.save(folder / f"{name}.npy", opened.features[0].take(np.arange(len(rows))))
print("computed", opened.computed_rows)
"""


def test_two_processes_make_one_entry_once(tmp_path):
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    names = ("ready1", "ready2")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), name], env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for name in names
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    computed = sorted(out.splitlines()[-1] for out, _ in said)
    assert computed == ["computed 0", "computed 36"]
    assert sum("waits for it" in out for out, _ in said) == 1
    first, second = (np.load(tmp_path / f"{name}.npy") for name in names)
    np.testing.assert_array_equal(first, second)
    store = FeatureStore(tmp_path / "cache")
    (info,) = store.entries()
    assert store.damaged(info) is None
    assert json.loads((store.path(info.key) / "entry.json").read_text())["rows"] == 36

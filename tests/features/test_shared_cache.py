"""Several processes at one cache: none takes what another one is making."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import one_worker
import pytest

from tlkeras.cli.main import main
from tlkeras.features import unfinished
from tlkeras.features.cache import FeatureCache, _Work
from tlkeras.features.identity import Request
from tlkeras.features.store import FeatureStore
from tlkeras.features.unfinished import UnfinishedEntry

KEY = "0123456789abcdef" * 2
ROWS = np.arange(75)


def opened(config, model, domain, **update):
    cache = FeatureCache(config.cache.model_copy(update=update))
    return cache.open(model.trunk(), [Request(domain.splits["train"], domain, "train")])


def during_extraction(monkeypatch, action, times=1):
    """Does something each time the first batch of an extraction has been computed."""
    outputs, left = _Work._outputs, [times]

    def acting(self, *given):
        for number, item in enumerate(outputs(self, *given)):
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
    entry = UnfinishedEntry(store, KEY, 2, (3,), "float32", {})
    entry.begin(True)
    entry.claim().append(np.zeros((2, 3), np.float32))
    assert entry.finish()
    with store.shared(KEY), store.shared(KEY):
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
    thread.join(60)
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


def test_an_extraction_that_ended_goes_on_where_it_was(config, model, domain, monkeypatch, capsys):
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", 32)
    wanted = opened(config, model, domain, dir=config.cache.dir + "2").features[0].take(ROWS)
    append, shards = unfinished.LockedShard.append, []

    def dies_after_one(self, rows):
        if len(shards) == 1:
            raise KeyboardInterrupt
        shards.append(self.number)
        return append(self, rows)

    monkeypatch.setattr(unfinished.LockedShard, "append", dies_after_one)
    with pytest.raises(KeyboardInterrupt):
        opened(config, model, domain)
    assert FeatureStore(config.cache.dir).entries() == []
    monkeypatch.setattr(unfinished.LockedShard, "append", append)
    capsys.readouterr()
    again = opened(config, model, domain)
    assert again.computed_rows == 75 - 32 and "75/75 rows" in capsys.readouterr().out
    np.testing.assert_array_equal(again.features[0].take(ROWS), wanted)


def started(folder, name, index, seconds=0.25):
    words = [sys.executable, one_worker.__file__, str(folder), name, str(index), str(seconds)]
    paths = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": paths}
    return subprocess.Popen(words, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def shards(folder, name):
    log = folder / f"{name}.shards"
    return [int(number) for number in log.read_text().split()] if log.exists() else []


def content(folder):
    """Returns the only entry: its key, its facts but the time of its making, and its shards."""
    (entry,) = (folder / "cache" / "features").iterdir()
    facts = json.loads((entry / "entry.json").read_text())
    files = {path.name: path.read_bytes() for path in entry.iterdir() if path.suffix == ".bin"}
    return entry.name, facts | {"created": None}, files


def test_two_workers_divide_an_entry_and_the_part_of_a_killed_one_is_done(tmp_path, monkeypatch):
    killed, other = started(tmp_path, "first", 0), started(tmp_path, "second", 1)
    try:
        while len(shards(tmp_path, "first")) < 2 or len(shards(tmp_path, "second")) < 2:
            assert killed.poll() is None and other.poll() is None, (killed.communicate(), other.communicate())
            time.sleep(0.01)
        killed.kill()
        said, wrong = other.communicate(timeout=300)
    finally:
        for process in (killed, other):
            process.kill()
            process.communicate()
    assert other.returncode == 0, wrong
    first, second = shards(tmp_path, "first"), shards(tmp_path, "second")
    assert first[:2] == [0, 2] and second[:2] == [1, 3]
    assert sorted(first + second) == list(range(one_worker.SHARDS))  # none twice, none lost
    assert f"computed {sum(8 if number == 11 else 32 for number in second)}" in said
    assert not list((tmp_path / "cache" / "locks").glob("*-*"))
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", one_worker.BLOCK_ROWS)
    undisturbed, computed = one_worker.compute(tmp_path / "alone", (0, 1))
    assert computed == 360 and content(tmp_path) == content(tmp_path / "alone")
    np.testing.assert_array_equal(np.load(tmp_path / "second.npy"), undisturbed)


def test_after_all_workers_are_killed_the_next_start_computes_only_what_is_missing(tmp_path, monkeypatch):
    killed = [started(tmp_path, name, index, 0.4) for index, name in enumerate(("first", "second"))]
    try:
        while not all(shards(tmp_path, name) for name in ("first", "second")):
            assert all(process.poll() is None for process in killed)
            time.sleep(0.01)
    finally:
        for process in killed:
            process.kill()
            process.communicate()
    finished = shards(tmp_path, "first") + shards(tmp_path, "second")
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", one_worker.BLOCK_ROWS)
    (entry,) = unfinished.unfinished_entries(FeatureStore(tmp_path / "cache"))
    left = 360 - entry.done_rows()
    assert left == 360 - sum(entry.rows_of(number) for number in finished) > 0
    again = started(tmp_path, "third", 0, 0)
    said, wrong = again.communicate(timeout=300)
    assert again.returncode == 0, wrong
    assert sorted(finished + shards(tmp_path, "third")) == list(range(one_worker.SHARDS))
    assert f"computed {left}" in said
    one_worker.compute(tmp_path / "alone", (0, 1))
    assert content(tmp_path) == content(tmp_path / "alone")

import contextlib
import os
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tlkeras.cli.main import main
from tlkeras.features import arrays, store, unfinished
from tlkeras.features.arrays import ArrayFeatures, MappedFeatures, open_entry
from tlkeras.features.store import FeatureStore
from tlkeras.features.unfinished import UnfinishedEntry

KEY = "0123456789abcdef" * 2


def write(entries: FeatureStore, key: str, values: np.ndarray, batch: int = 7):
    facts = {"backbone": "small_cnn", "split": "train", "view": None, "extractor": "exact"}
    entry = UnfinishedEntry(entries, key, len(values), values.shape[1:], values.dtype.name, facts)
    entry.begin(True)
    while claim := entry.claim():
        for begin in range(claim.begin, claim.end, batch):
            claim.append(values[begin : min(begin + batch, claim.end)])
    assert entry.finish()
    return entries.find(key)


@pytest.fixture
def entries(tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", 10)  # so that small entries have several files
    return FeatureStore(tmp_path)


@pytest.fixture
def values():
    return np.random.default_rng(0).normal(size=(50, 3, 7)).astype(np.float32)


@pytest.mark.parametrize("memory_mb", [1, 0])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_come_back_bit_for_bit(entries, values, dtype, memory_mb):
    values = values.astype(store.numpy_dtype(dtype))
    info = write(entries, KEY, values)
    assert len(entries.shards(info)) > 1
    features = open_entry(entries, info, memory_mb)
    assert isinstance(features, ArrayFeatures if memory_mb else MappedFeatures)
    indices = np.array([49, 0, 3, 3, 21])
    assert features.take(indices).dtype == values.dtype
    np.testing.assert_array_equal(
        features.take(indices).view(np.uint8), np.ascontiguousarray(values[indices]).view(np.uint8)
    )


def test_shards_of_a_process_that_ended_are_kept_and_the_rest_is_written(entries, values, capsys):
    facts = {"extractor": "exact"}
    first = UnfinishedEntry(entries, KEY, 50, (3, 7), "float32", facts, (1, 2))
    first.begin(True)
    with contextlib.closing(first.claim()) as claim:
        assert (claim.begin, claim.end) == (10, 20)  # the own part comes first
        assert not claim.append(values[10:14]) and claim.append(values[14:20])
    half = first.claim()
    half.append(values[30:35])
    assert not first.finish() and entries.find(KEY) is None and entries.entries() == []
    second = UnfinishedEntry(entries, KEY, 50, (3, 7), "float32", facts)
    second.begin(True)
    assert second.done_rows() == 10
    claims = [second.claim() for _ in range(3)]
    assert [claim.number for claim in claims] == [0, 2, 4] and second.claim() is None
    half.close()
    claims.append(second.claim())
    assert claims[-1].number == 3
    for claim in claims:
        assert claim.append(values[claim.begin : claim.end])
    assert second.finish()
    info = entries.find(KEY)
    assert entries.damaged(info) is None and not list((entries.directory / "locks").iterdir())
    assert first.claim() is None
    np.testing.assert_array_equal(open_entry(entries, info, 1).take(np.arange(50)), values)


def test_an_entry_begins_again_after_somebody_has_removed_it(entries, values):
    entry = UnfinishedEntry(entries, KEY, 50, (3, 7), "float32", {"extractor": "exact"})
    entry.begin(True)
    with contextlib.closing(entry.claim()) as claim:
        assert claim.append(values[claim.begin : claim.end])
    shutil.rmtree(entry.folder)
    entry.begin(True)
    claims = list(iter(entry.claim, None))
    assert [claim.number for claim in claims] == [0, 1, 2, 3, 4]
    for claim in claims:
        assert claim.append(values[claim.begin : claim.end])
    assert entry.finish()


def test_the_command_shows_and_clears_what_is_unfinished(entries, values, capsys):
    facts = {"backbone": "small_cnn", "split": "train", "view": None, "extractor": "exact"}
    entry = UnfinishedEntry(entries, KEY, 50, (3, 7), "float32", facts)
    entry.begin(True)
    entry.leave()
    assert not entry.folder.exists()  # nothing is left of a process that finished no shard
    entry.begin(True)
    for _ in range(2):
        claim = entry.claim()
        claim.append(values[claim.begin : claim.end])
    entry.leave()
    words = [f"--dir={entries.directory}"]
    assert main(["cache", "list", *words]) == 0
    shown = capsys.readouterr().out
    (line,) = [line for line in shown.splitlines() if KEY[:12] in line]
    assert "20 of 50" in line and "unfinished" in line and "small_cnn" in line and "3x7" in line
    assert "1 entries lack shards" in shown
    assert main(["cache", "clear", *words]) == 2 and "and 1 unfinished" in capsys.readouterr().err
    with entries.shared(KEY):  # a process works on it
        assert main(["cache", "clear", "01", *words]) == 0
    assert "is kept" in capsys.readouterr().out and entry.done_rows() == 20
    assert main(["cache", "clear", "01", *words]) == 0
    assert "KiB freed" in capsys.readouterr().out and not entry.folder.exists()
    write(entries, KEY, values)
    assert unfinished.unfinished_entries(entries) == []


def test_a_process_that_dies_while_it_completes_an_entry_loses_nothing(entries, values, monkeypatch):
    replace, left = os.replace, [9]

    def dies(source, target):
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("tlkeras.features.unfinished.os.replace", dies)
    with pytest.raises(KeyboardInterrupt):  # after some of the five files have their last name
        write(entries, KEY, values)
    monkeypatch.undo()
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", 10)
    assert entries.find(KEY) is None
    names = [path.name for path in entries.unfinished(KEY).iterdir()]
    assert "00000.bin" in names and "00004.bin" not in names
    info = write(entries, KEY, values + 1)  # no shard is computed again
    assert entries.damaged(info) is None
    np.testing.assert_array_equal(open_entry(entries, info, 1).take(np.arange(50)), values)


def test_without_locks_a_shard_that_two_have_written_is_there_once(entries, values, monkeypatch):
    monkeypatch.setattr(unfinished, "take_lock", lambda path, wait: None)
    both = [UnfinishedEntry(entries, KEY, 50, (3, 7), "float32", {}) for _ in range(2)]
    for entry in both:
        entry.begin(False)
    claims = [[entry.claim() for _ in range(5)] for entry in both]
    for offset, own in enumerate(claims):
        for claim in own:
            claim.append(values[claim.begin : claim.end] + offset)
    assert both[0].finish()
    with pytest.raises(FileNotFoundError):
        both[1].finish()
    info = entries.find(KEY)
    assert entries.damaged(info) is None and len(list(entries.path(KEY).iterdir())) == 6


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_entry_is_found(entries, values, damage):
    info = write(entries, KEY, values)
    assert entries.damaged(info) is None
    path = entries.shards(info)[1]
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[100] ^= 1
        path.write_bytes(content)
        assert entries.damaged(entries.find(KEY)) == path
    elif damage == "cut":
        path.write_bytes(content[:-1])
        assert entries.find(KEY) is None
    else:
        path.unlink()
        assert entries.find(KEY) is None


def test_what_is_read_from_files_does_not_stay_resident(entries, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", 16)
    values = np.ones((192, 2**18), np.float32)  # 192 MiB
    info = write(entries, KEY, values, batch=16)
    features = MappedFeatures(entries, info)
    del values
    before = resident_mb()
    peak = 0
    for indices in np.random.default_rng(0).permutation(192).reshape(-1, 8):
        assert features.take(indices).sum() == 8 * 2**18
        peak = max(peak, resident_mb() - before)
    assert peak < 2 * arrays._RESIDENT_BYTES / 2**20 + 16


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20


def test_features_of_a_process_share_one_budget(entries, values):
    big = np.zeros((100, 4096), np.float32)  # 1.6 MiB
    first = open_entry(entries, write(entries, KEY, big), 2)
    second = open_entry(entries, write(entries, KEY[::-1], big), 2)
    assert isinstance(first, ArrayFeatures) and isinstance(second, MappedFeatures)
    assert open_entry(entries, entries.find(KEY), 2) is first
    del first, second
    assert isinstance(open_entry(entries, entries.find(KEY[::-1]), 2), ArrayFeatures)


def test_the_second_of_two_waits_for_the_first(entries, capsys):
    order = []

    def work():
        with entries.locked(KEY):
            order.append("second")

    with entries.locked(KEY):
        thread = threading.Thread(target=work)
        thread.start()
        said = ""
        while "waits for it" not in said:
            time.sleep(0.01)
            said += capsys.readouterr().out
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]


@pytest.mark.parametrize(("answer", "left"), [(None, 1), ("", 1), ("no", 1), ("y", 0)])
def test_everything_goes_only_when_somebody_agrees(entries, values, capsys, monkeypatch, answer, left):
    write(entries, KEY, values)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: answer is not None))
    monkeypatch.setattr("builtins.input", lambda question: print(question) or answer)
    assert main(["cache", "clear", f"--dir={entries.directory}"]) == (2 if answer is None else 0)
    shown, error = capsys.readouterr()
    assert "1 entries" in shown + error and ("--yes" in error) == (answer is None)
    assert len(entries.entries()) == left


def test_the_command_lists_and_clears(entries, values, capsys):
    write(entries, KEY, values)
    write(entries, KEY[::-1], values)
    assert main(["cache", "list", f"--dir={entries.directory}"]) == 0
    shown = capsys.readouterr().out
    assert KEY[:12] in shown and "small_cnn" in shown and "2 entries" in shown
    assert main(["cache", "clear", "01", f"--dir={entries.directory}"]) == 0
    assert [info.key for info in entries.entries()] == [KEY[::-1]]
    assert main(["cache", "clear", "no", f"--dir={entries.directory}"]) == 2
    assert main(["cache", "clear", "--yes", f"--dir={entries.directory}"]) == 0
    assert entries.entries() == [] and not list((entries.directory / "features").iterdir())
    assert main(["cache", "lost", f"--dir={entries.directory}"]) == 2
    capsys.readouterr()
    assert main(["cache", "list", "zzz", f"--dir={entries.directory}"]) == 2
    assert "zzz" in capsys.readouterr().err

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from tlkeras.cli.main import main
from tlkeras.features import arrays, store
from tlkeras.features.arrays import ArrayFeatures, MappedFeatures, open_entry
from tlkeras.features.store import FeatureStore

KEY = "0123456789abcdef" * 2


def write(entries: FeatureStore, key: str, values: np.ndarray, batch: int = 7):
    facts = {"backbone": "small_cnn", "split": "train", "view": None, "extractor": "exact"}
    with entries.writing(key, len(values), values.shape[1:], values.dtype.name, facts) as writer:
        for begin in range(0, len(values), batch):
            writer.append(values[begin : begin + batch])
    return entries.find(key)


@pytest.fixture
def entries(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "SHARD_BYTES", 1000)  # so that small entries have several files
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


def test_a_half_written_entry_is_never_read(entries, values):
    with pytest.raises(KeyboardInterrupt), entries.writing(KEY, 50, (3, 7), "float32", {}) as writer:
        writer.append(values[:40])
        raise KeyboardInterrupt
    assert entries.find(KEY) is None
    assert entries.entries() == []


def test_an_entry_that_lacks_rows_is_refused(entries, values):
    with (
        pytest.raises(ValueError, match="40 of 50"),
        entries.writing(KEY, 50, (3, 7), "float32", {}) as writer,
    ):
        writer.append(values[:40])
    assert entries.find(KEY) is None


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
    monkeypatch.setattr(store, "SHARD_BYTES", 16 * 2**20)
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
        time.sleep(0.3)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
    assert "waits for it" in capsys.readouterr().out


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

"""Several processes embed one folder: each computes a part, and what a killed one has finished is kept."""

import errno
import os
import subprocess
import sys
import time

import embedding_worker
import numpy as np
import pytest
from PIL import Image

from tlkeras.cli.main import main
from tlkeras.config import CacheConfig
from tlkeras.data import files as files_module
from tlkeras.data import reading
from tlkeras.errors import UserError
from tlkeras.features import FeatureStore, unfinished
from tlkeras.runs.retrieval import embed_files
from tlkeras.runs.saved_run import load_run

LONG_AGO = 1_600_000_000
FILES, SHARDS = 201, 7  # shards of 32


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 201 files, of which two are no pictures."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(FILES):
        path = folder / f"{number:03}.png"
        if number in (40, 200):
            path.write_text("no picture")
        else:
            Image.fromarray(rng.integers(0, 256, (9, 9, 3), np.uint8)).save(path)
        os.utime(path, (LONG_AGO, LONG_AGO))
    return folder


@pytest.fixture
def start(trained, pictures, tmp_path):
    """Starts a process that embeds the folder: `start(name, ...)`. Its shards are noted in `log`."""
    started = []
    (tmp_path / "log").mkdir()

    def start(name, *others, seconds):
        words = [sys.executable, embedding_worker.__file__, ",".join((name, *others)), seconds]
        words += [tmp_path / "log", trained, pictures]
        words += [f"--output={tmp_path / name}.npz", f"--cache_dir={tmp_path / 'cache'}"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started.append(subprocess.Popen(list(map(str, words)), env=environment, **pipes))
        return started[-1]

    yield start
    for process in started:
        with process:  # closes the pipes
            process.kill()


def shards(tmp_path, name):
    path = tmp_path / "log" / name
    return [int(number) for number in path.read_text().split()] if path.exists() else []


def test_processes_divide_a_folder_and_a_killed_one_leaves_its_shards(
    start, trained, pictures, tmp_path, capsys
):
    killed = start("killed", seconds=0.5)
    while len(shards(tmp_path, "killed")) < 2:
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    (entry,) = unfinished.unfinished_entries(FeatureStore(tmp_path / "cache"))
    assert entry.rows == FILES and entry.key
    assert main(["cache", "list", f"--dir={tmp_path / 'cache'}"]) == 0
    assert f"of {FILES}" in capsys.readouterr().out
    processes = [start("first", "second", seconds=0.3), start("second", "first", seconds=0.3)]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    computed = [shards(tmp_path, name) for name in ("killed", "first", "second")]
    assert sorted(number for one in computed for number in one) == list(range(SHARDS))  # none twice or lost
    assert all(computed)
    for out, error in said:
        assert f"{FILES}/{FILES} rows" in out and "rows/s" in out
        assert f"{FILES - 2} files and their features written" in out and error.count("skipped") == 2
    alone = embed_files(load_run(trained), pictures)
    for name in ("first", "second"):
        with np.load(tmp_path / f"{name}.npz") as found:
            assert found["names"].tolist() == alone.names
            np.testing.assert_array_equal(found["features"], alone.features)
    assert not list((tmp_path / "cache" / "locks").glob("*-*"))


def test_features_of_files_are_kept_until_a_file_changes(trained, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", embedding_worker.BLOCK_ROWS)
    run, cache = load_run(trained), CacheConfig(dir=str(tmp_path / "cache"))
    files = sorted(map(str, pictures.iterdir()))[:50]
    first = embed_files(run, files, cache)
    assert [path for path, _ in first.skipped] == [files[40]] and len(first.names) == 49

    def entries():
        return len(FeatureStore(tmp_path / "cache").entries())

    assert entries() == 1
    again = embed_files(run, files, cache)
    np.testing.assert_array_equal(again.features, first.features)
    assert again.skipped == first.skipped and entries() == 1
    os.utime(files[0], (LONG_AGO + 1, LONG_AGO + 1))
    embed_files(run, files, cache)
    assert entries() == 2
    os.utime(files[0])  # it could change again without a change of its time
    embed_files(run, files, cache)
    embed_files(run, files[1:33], cache)  # too few to divide
    embed_files(run, files[1:], cache.model_copy(update={"enabled": False}))
    assert entries() == 2
    os.utime(files[0], (LONG_AGO, LONG_AGO))


def test_an_error_of_reading_that_has_passed_is_not_kept(trained, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(unfinished, "BLOCK_ROWS", embedding_worker.BLOCK_ROWS)
    run, cache = load_run(trained), CacheConfig(dir=str(tmp_path / "cache"))
    files = sorted(map(str, pictures.iterdir()))[:60]
    alone, real, lost = embed_files(run, files), reading.read_image, {files[3], files[50]}

    def failing(image, spec):
        if image in lost:
            raise UserError(f"{image} cannot be read. Received: {os.strerror(errno.ESTALE)}")
        return real(image, spec)

    monkeypatch.setattr(files_module, "read_image", failing)
    first = embed_files(run, files, cache)
    assert {path for path, _ in first.skipped} == lost | {files[40]}
    monkeypatch.setattr(files_module, "read_image", real)
    again = embed_files(run, files, cache)
    assert again.skipped == alone.skipped and again.names == alone.names
    np.testing.assert_allclose(again.features, alone.features, rtol=1e-5, atol=1e-6)
    assert len(FeatureStore(tmp_path / "cache").entries()) == 1

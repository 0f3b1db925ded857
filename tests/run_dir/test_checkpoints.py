"""Checkpoints: bit-identical round trip, checksums, the newest K, kill -9, a full disk."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tlkeras.errors import RunError
from tlkeras.run_dir import CheckpointStore


def test_round_trip_is_bit_identical(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "dense/kernel": rng.normal(size=(3, 5)).astype(np.float32),
        "dense/bfloat": rng.normal(size=(7,)).astype(ml_dtypes.bfloat16),
        "optimizer/iterations": np.array(12, np.int64),
        "seed": np.array([1, 2**32 - 1], np.uint32),
        "flag": np.array([True, False, True]),
        "transposed": rng.normal(size=(4, 6)).T,
        "empty": np.zeros((0, 3), np.float16),
    }
    state = {"best": -math.inf, "loss": 0.1 + 0.2, "names": ["ä"], "nested": {"step": 2**60}}
    CheckpointStore(tmp_path).save_arrays(arrays, state, step=3)
    loaded, loaded_state = CheckpointStore(tmp_path).load()
    assert loaded_state == state and loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert loaded[name].dtype == array.dtype and loaded[name].shape == array.shape
        assert loaded[name].tobytes() == array.tobytes()


def test_objects_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds numbers"):
        CheckpointStore(tmp_path).save_arrays({"x": np.array([object()])}, step=0)
    assert CheckpointStore(tmp_path).load() is None


def test_newest_are_kept(tmp_path):
    store = CheckpointStore(tmp_path, keep=2)
    for step in (10, 20, 30, 40):
        store.save_arrays({"x": np.array(step)}, step=step)
    assert store.steps() == [40, 30] and len(list(tmp_path.iterdir())) == 2
    # Going on from an earlier step gives up the later ones.
    store.save_arrays({"x": np.array(35)}, step=35)
    assert store.steps() == [35, 30] and store.load()[0]["x"] == 35
    store.clear()
    assert store.load() is None


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_damaged_checkpoint_falls_back_with_a_warning(tmp_path, damage, capsys):
    store = CheckpointStore(tmp_path)
    store.save_arrays({"x": np.arange(100.0)}, {"step": 1}, step=1)
    content = bytearray((newest := store.save_arrays({"x": np.ones(100)}, {}, step=2)).read_bytes())
    content[-5] ^= 1
    newest.write_bytes({"flip": content, "truncate": content[:-9], "empty": b""}[damage])
    arrays, state = store.load()
    assert "damaged" in capsys.readouterr().err
    assert state == {"step": 1} and arrays["x"][7] == 7
    # Once training has passed that step again, the damaged file is gone.
    store.save_arrays({"x": np.ones(1)}, {}, step=2)
    assert store.steps() == [2, 1]


def test_file_callback(tmp_path):
    store = CheckpointStore(tmp_path)
    path = store.save(lambda temporary: temporary.write_text("weights"), step=5, suffix=".txt")
    assert path.suffix == ".txt" and path.read_text() == "weights"
    with pytest.raises(ZeroDivisionError):
        store.save(lambda temporary: 1 / 0, step=6)
    assert store.steps() == [5]


WRITER = """
import sys
import numpy as np
from tlkeras.run_dir import CheckpointStore
store = CheckpointStore(sys.argv[1])
step = store.steps()[0] if store.steps() else 0
print("ready", flush=True)
while True:
    step += 1
    store.save_arrays({"x": np.full(300_000, step)}, {"step": step}, step=step)
"""


def newest(folder: Path) -> int:
    """The step of the newest checkpoint by its name alone, while another process makes and drops them."""
    return max((int(name[5:15]) for name in os.listdir(folder) if name.startswith("step-")), default=0)


def test_kill_leaves_a_whole_checkpoint(tmp_path):
    last = 0
    for attempt in range(6):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        process.stdout.readline()
        try:
            while newest(tmp_path) == last and process.poll() is None:  # however busy the machine is
                time.sleep(0.001)
            time.sleep(0.011 * attempt)
        finally:
            process.send_signal(signal.SIGKILL)
            process.communicate()
        arrays, state = CheckpointStore(tmp_path).load()
        assert state["step"] > last and np.all(arrays["x"] == state["step"])
        last = state["step"]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MiB; skipped where this user may not mount one."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_full_disk_loses_nothing(small_disk):
    store = CheckpointStore(small_disk / "checkpoint")
    store.save_arrays({"x": np.ones(50_000)}, {"step": 1}, step=1)
    (small_disk / "ballast").write_bytes(b"x" * 400_000)
    with pytest.raises(RunError, match="free some space"):
        store.save_arrays({"x": np.ones(50_000)}, {"step": 2}, step=2)
    assert store.load()[1] == {"step": 1} and len(list(store.directory.iterdir())) == 1
    (small_disk / "ballast").unlink()
    store.save_arrays({"x": np.ones(50_000)}, {"step": 2}, step=2)
    assert store.load()[1] == {"step": 2}


def done_so_far() -> dict[str, int]:
    """What this process has read and written."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return {name: int(value) for name, value in (line.split(": ") for line in lines)}


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="Linux counts what a process writes")
def test_a_mobile_network_with_adam_is_written_once(tmp_path, monkeypatch):
    flushed, flush = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(descriptor) or flush(descriptor))
    arrays = {f"layer_{i}": np.ones((160, 90), np.float32) for i in range(780)}  # 45 MB
    size = sum(array.nbytes for array in arrays.values())
    before = done_so_far()
    CheckpointStore(tmp_path).save_arrays(arrays, {}, step=1)
    after = done_so_far()
    assert size <= after["wchar"] - before["wchar"] < 1.01 * size
    assert after["rchar"] - before["rchar"] < 0.01 * size
    assert after["syscw"] - before["syscw"] < len(arrays) + 10 and len(flushed) <= 2


def test_layout_is_safetensors(tmp_path):
    path = CheckpointStore(tmp_path).save_arrays({"x": np.ones((2, 3), np.float32)}, step=0)
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert header["x"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
    assert len(content) == 8 + size + 24 and size % 8 == 0

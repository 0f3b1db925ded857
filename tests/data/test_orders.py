"""The order of rows in shards: a shuffle of shards, and of rows in a window."""

import io
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from PIL import Image

from tlkeras import load_config, run_experiment
from tlkeras.config import DataConfig
from tlkeras.data import load_domain, shard_column, training_batches
from tlkeras.data.feature_batches import training_batches as feature_batches
from tlkeras.data.orders import ShuffleOfShards, rows_of_step, streams_of
from tlkeras.data.shard_writing import write_shards
from tlkeras.errors import UserError
from tlkeras.features.arrays import ArrayFeatures
from tlkeras.run_dir import CheckpointStore

ROWS = 500


@pytest.fixture(scope="module")
def source():
    """500 pictures in arrays, whose first pixel tells the row; each row is of one of two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, 12, 12, 3)).astype(np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = np.arange(ROWS) % 256, np.arange(ROWS) // 256
    config = DataConfig(source="arrays", val_fraction=0, test_fraction=0)
    return load_domain(config, seed=0, arrays={"train": (pixels, np.arange(ROWS) % 2)})


@pytest.fixture
def written(source, tmp_path, monkeypatch):
    """Writes the pictures into some shards and returns their folder: `written(kind, folder)`."""
    monkeypatch.setattr("tlkeras.data.shard_writing.MIB", 2**14)

    def write(kind="tfrecords", folder=None):
        folder = folder or str(tmp_path / kind)
        assert write_shards(source, folder, kind, 1).shards > 10
        return folder

    return write


def load(folder, kind="tfrecords", **settings):
    config = DataConfig(source=f"{kind}:{folder}", val_fraction=0, test_fraction=0, image_size=12, **settings)
    return load_domain(config, seed=0)


def batches(domain, start=0, steps=40, batch_size=24, **more):
    found = training_batches(
        domain.splits["train"], domain, batch_size=batch_size, seed=3, start_step=start, steps=steps, **more
    )
    return [(x.numpy(), y.numpy()) for x, y in found]


def rows_in(x):
    first = x[:, 0, 0].astype(int)
    return first[:, 0] + 256 * first[:, 1]


@pytest.mark.parametrize("batch_size", [1, 5, 24, 32, 48, 250])
def test_an_epoch_holds_each_row_once_and_follows_from_seed_and_epoch(batch_size):
    shard = np.sort(np.random.default_rng(0).integers(0, 9, 250))
    order = ShuffleOfShards(shard, np.arange(250), 40)
    epochs = {(seed, epoch): order.epoch(seed, epoch, batch_size) for seed in (3, 4) for epoch in (0, 1)}
    for rows in epochs.values():
        assert sorted(rows) == list(range(250))
    assert len({rows.tobytes() for rows in epochs.values()}) == 4
    again = ShuffleOfShards(shard, np.arange(250), 40)
    assert again.epoch(4, 1, batch_size).tolist() == epochs[4, 1].tolist()
    epoch, rows = rows_of_step(again, 4, 250 // batch_size, batch_size)
    assert epoch == 1 and rows.tolist() == epochs[4, 1][:batch_size].tolist()


def test_rows_move_within_the_window_and_each_worker_reads_shards_of_its_own():
    shard, window, batch = np.repeat(np.arange(64), 100), 640, 32
    order = ShuffleOfShards(shard, np.arange(6400), window)
    assert streams_of(batch) == 16 and streams_of(12) == 4 and streams_of(7) == 1
    steps = order.epoch(0, 0, batch).reshape(200, 16, 2)
    for stream in range(16):
        rows = steps[:, stream].ravel()
        assert (np.diff(rows) != 1).mean() > 0.9  # shuffled
        begins = [int(places.min()) for places in np.split(rows, 40)]  # ten rows at a time
        assert all(len(np.unique(rows[i : i + 10] // 100)) <= 3 for i in range(0, 400, 10)), begins
        assert len(np.unique(rows // 100)) <= 6  # 400 rows in sequence, of five shards and a rotation
    halves = [set((steps[:, part] // 100).ravel()) for part in (slice(0, 8), slice(8, 16))]
    assert len(halves[0] & halves[1]) <= 2 and len(halves[0] | halves[1]) == 64


@pytest.mark.parametrize("kind", ["tfrecords", "webdataset"])
def test_batches_begin_at_any_step_and_cached_features_have_the_same_rows(written, kind):
    folder = written(kind)
    domain = load(folder, kind, order="shards", order_window=64)
    rows = domain.splits["train"]
    assert rows.window == 64 and rows.take(np.arange(10)).window == 64
    whole = batches(domain)
    for epoch in range(2):
        seen = np.concatenate([rows_in(x) for x, _ in whole[20 * epoch : 20 * epoch + 20]])
        assert len(set(seen)) == 480
    names = [rows_in(x).tolist() for x, _ in whole]
    assert names != [rows_in(x).tolist() for x, _ in batches(load(folder, kind))]
    for (x, y), (x_expected, y_expected) in zip(batches(domain, start=29), whole[29:], strict=True):
        assert (x == x_expected).all() and (y == y_expected).all()
    features = ArrayFeatures(np.arange(ROWS, dtype=np.float32)[:, None])
    found = feature_batches([features], rows, domain, batch_size=24, seed=3, steps=40)
    assert [x.numpy()[:, 0].astype(int).tolist() for x, _ in found] == names


def test_a_worker_reads_the_rows_of_its_part_alone(written, monkeypatch):
    folder = written()
    domain = load(folder, order="shards")
    whole = batches(domain, steps=3)
    read, rows = [], type(domain.splits["train"].inputs[0])
    one = rows.read
    monkeypatch.setattr(rows, "read", lambda self: read.append(self) or one(self))
    other = load(folder, order="shards", memory_mb=0)
    read.clear()
    for (x, y), (x_whole, y_whole) in zip(batches(other, steps=3, part=(1, 3)), whole, strict=True):
        assert (x[8:16] == x_whole[8:16]).all() and (y == y_whole).all()
        assert not x[:8].any() and not x[16:].any()
    assert len(read) == 3 * 8
    (x, _), *_ = batches(other, steps=1, part=(1, 5))  # 24 rows cannot be divided among five
    assert (x == whole[0][0]).all()


def test_a_bucket_is_read_in_blocks_each_about_once(written, monkeypatch):
    folder, opened, guard = written(folder="ram://orders/shards"), [], threading.Lock()
    monkeypatch.setattr(shard_column, "BLOCK_BYTES", 2**11)
    real = shard_column.opened

    def counted(path):
        with guard:
            opened.append(path)
        return real(path)

    assert load(folder).splits["train"].window == 2048  # `auto` reads a bucket in the order of shards
    domain = load(folder, memory_mb=0, order_window=64)
    rows = domain.splits["train"].inputs
    blocks = sum(-(-shard.size // 2**11) for shard in rows.shards)
    assert rows.blocks.most < 0.8 * blocks
    monkeypatch.setattr(shard_column, "opened", counted)
    seen = np.concatenate([rows_in(x) for x, _ in batches(domain, steps=20)])
    assert len(set(seen)) == 480 and len(opened) <= 1.25 * blocks < 480 / 2
    opened.clear()
    single = load(folder, memory_mb=0, order="rows")
    opened.clear()
    assert len(batches(single, steps=20)) == 20 and len(opened) == 480


def test_blocks_that_are_not_kept_are_read_again_and_errors_are_not_kept(tmp_path):
    content = os.urandom(5 * shard_column.BLOCK_BYTES // 2)
    (tmp_path / "a").write_bytes(content)
    shard = shard_column.Shard(str(tmp_path / "a"), len(content), 0)
    blocks = shard_column.Blocks(1)
    for begin in (0, shard_column.BLOCK_BYTES - 5, 2 * shard_column.BLOCK_BYTES + 7, 3):
        assert blocks.read(shard, begin, 99) == content[begin : begin + 99]
    assert blocks.read(shard, len(content) - 9, 99) == content[-9:]
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        blocks.read(shard, 0, 9)
    (tmp_path / "b").rename(tmp_path / "a")
    assert blocks.read(shard, 0, 9) == content[:9]


def test_what_is_not_in_shards_has_no_such_order(source, image_folder, tmp_path, capsys, monkeypatch):
    folder = image_folder({"train": {"a": 3, "b": 3}})
    with pytest.raises(UserError, match=r"order=shards is for rows in shards: tfrecords.*folder"):
        load_domain(DataConfig(source=f"folder:{folder}", order="shards"), seed=0)
    vectors = {"train": (np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2)}
    domain = load_domain(DataConfig(source="arrays"), seed=0, arrays=vectors)
    write_shards(domain, str(tmp_path / "vectors"), "webdataset")
    with pytest.raises(UserError, match=r"order=shards is for pictures.*held in memory"):
        load(tmp_path / "vectors", "webdataset", order="shards")
    by_class = source.splits["train"].take(np.argsort(source.splits["train"].labels, kind="stable"))
    sorted_domain = source.with_splits({"train": by_class})
    write_shards(sorted_domain, str(tmp_path / "sorted"), "tfrecords")
    load(tmp_path / "sorted", order="shards")
    assert "sorted by class" in capsys.readouterr().err
    sorted_test = source.with_splits({"train": source.splits["train"], "test": by_class})
    write_shards(sorted_test, str(tmp_path / "sorted_test"), "tfrecords")
    found = load(tmp_path / "sorted_test", order="shards", order_window=10_000).splits
    assert "sorted" not in capsys.readouterr().err  # only the order of training rows matters
    assert found["test"].inputs.blocks.most <= found["train"].inputs.blocks.most
    write_shards(sorted_domain, str(tmp_path / "shuffled"), "tfrecords", shuffle_seed=1)
    domain = load(tmp_path / "shuffled", order="shards")
    assert "sorted" not in capsys.readouterr().err
    rows = domain.splits["train"]
    found = [int(rows_in(np.asarray(Image.open(io.BytesIO(row.read())))[None])[0]) for row in rows.inputs]
    assert sorted(found) == list(range(ROWS)) and found != sorted(found)
    assert (rows.labels == np.array(found) % 2).all()


@pytest.mark.usefixtures("without_report")
def test_a_killed_run_goes_on_to_the_same_bits(written, tmp_path):
    folder = written()
    settings = {
        "data": {"source": f"tfrecords:{folder}", "image_size": 12, "batch_size": 16, "order": "shards",
                 "order_window": 50, "memory_mb": 0, "limit": {"val": 20, "test": 20}},
        "model": {"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 4]}},
        "stages": [{"name": "all", "train": "all", "epochs": 4, "optimizer": {"learning_rate": 0.01}}],
        "checkpoint": {"every_steps": 1},
    }  # fmt: skip
    config = load_config(settings, [f"cache.dir={tmp_path / 'cache'}"])
    path = tmp_path / "config.json"
    path.write_text(config.model_dump_json())
    program = "from tlkeras.cli.main import entry; entry()"
    command = [sys.executable, "-c", program, "train", f"--config={path}", f"--workdir={tmp_path / 'killed'}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoints = tmp_path / "killed" / "stages" / "00_all"
    while process.poll() is None and len(list(checkpoints.glob("checkpoint*/*"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (tmp_path / "killed" / "best.keras").exists()
    assert max(CheckpointStore(checkpoints / "checkpoint").steps()) > 0
    killed, whole = (run_experiment(config, tmp_path / name) for name in ("killed", "whole"))
    assert killed.run_dir.ledger.last(event="resumed") is not None  # it did not train anew
    assert whole.run_dir.ledger.last(event="resumed") is None
    for one, other in zip(whole.model.get_weights(), killed.model.get_weights(), strict=True):
        assert one.tobytes() == other.tobytes()

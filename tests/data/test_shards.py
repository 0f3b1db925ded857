"""Shards as data: TFRecord and tar files, written from any source and read as if each row were a file."""

import contextlib
import io
import json
import os
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.config import DataConfig
from tlkeras.data import check_files, load_domain, shard_writing, training_batches
from tlkeras.data.shard_writing import write_shards
from tlkeras.errors import RunError, UserError

LONG_AGO = 1_600_000_000
SUFFIX = {"tfrecords": "tfrecord", "webdataset": "tar"}
both = pytest.mark.parametrize("kind", SUFFIX)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 40 pictures, PNG and JPEG, in two classes with a test split."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for number in range(40):
        place = folder / ("test" if number >= 32 else "train") / ("cat", "dog")[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (9, 7, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"{number:02}.{'png' if number % 3 else 'jpg'}")
    return folder


def load(source, kept_in=None, **settings):
    config = DataConfig(source=source, image_size=8, **settings)
    return load_domain(config, seed=0, kept_in=kept_in)


def first_batches(domain, start=0, steps=6):
    batches = training_batches(
        domain.splits["train"], domain, batch_size=5, seed=3, start_step=start, steps=steps
    )
    return [(x.numpy(), y.numpy()) for x, y in batches]


def pixels():
    file = io.BytesIO()
    Image.new("RGB", (4, 4), (9, 9, 9)).save(file, "PNG")
    return file.getvalue()


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def records_of(path, rows):
    with tf.io.TFRecordWriter(str(path)) as file:
        for row in rows:
            features = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                if isinstance(value, bytes)
                else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                for name, value in row.items()
            }
            file.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


@both
def test_shards_give_the_batches_of_the_source_also_from_any_step(kind, pictures, tmp_path, monkeypatch):
    folder = load(f"folder:{pictures}")
    monkeypatch.setattr("tlkeras.data.shard_writing.MIB", 700)  # a few rows in each shard
    written = write_shards(folder, str(tmp_path / "out"), kind, 1)
    shards = sorted(path.name for path in (tmp_path / "out").glob(f"*.{SUFFIX[kind]}"))
    assert written.rows == 40 and written.shards == len(shards) > 5 and shards[0].startswith("test-00000")
    domain = load(f"{kind}:{tmp_path / 'out'}")
    assert domain.class_names == ("cat", "dog") and list(domain.splits) == ["train", "val", "test"]
    for split, rows in domain.splits.items():
        assert rows.labels.tolist() == folder.splits[split].labels.tolist()
        assert (rows.digests == folder.splits[split].digests).all()
    whole, expected = first_batches(domain), first_batches(folder)
    for (x, y), (x_expected, y_expected) in zip(whole, expected, strict=True):
        assert (x == x_expected).all() and (y == y_expected).all()
    for (x, _), (x_expected, _) in zip(first_batches(domain, start=4), expected[4:], strict=True):
        assert (x == x_expected).all()


@both
def test_a_second_start_reads_neither_shards_nor_pictures(kind, pictures, tmp_path, monkeypatch):
    write_shards(load(f"folder:{pictures}"), str(tmp_path / "out"), kind)
    for path in (tmp_path / "out").iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    first, _ = check_files(load(f"{kind}:{tmp_path / 'out'}", tmp_path / "cache"))
    fingerprint = first.fingerprint()

    def no_reading(*_):
        raise AssertionError("a shard was opened")

    monkeypatch.setattr(f"tlkeras.data.sources.{kind}.head_is_compressed", no_reading)
    monkeypatch.setattr("tlkeras.data.shard_column.opened", no_reading)
    again, _ = check_files(load(f"{kind}:{tmp_path / 'out'}", tmp_path / "cache"))
    assert again.fingerprint() == fingerprint
    os.utime(next((tmp_path / "out").glob("train*")))
    with pytest.raises(AssertionError, match="was opened"):
        load(f"{kind}:{tmp_path / 'out'}", tmp_path / "cache")


@both
def test_shards_lie_on_any_file_system_of_tensorflow(kind, pictures):
    folder = load(f"folder:{pictures}")
    place = f"ram://{kind}/shards"
    write_shards(folder, place, kind)
    for source in (place, f"{place}/train-*"):
        rows = load(f"{kind}:{source}", test_fraction=0, val_fraction=0).splits["train"]
        assert (rows.digests == folder.splits["train"].digests).all()


@both
def test_a_damaged_shard_is_one_line(kind, pictures, tmp_path):
    write_shards(load(f"folder:{pictures}"), str(tmp_path), kind)
    shard = tmp_path / f"train-00000.{SUFFIX[kind]}"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2 + 7])
    with pytest.raises(UserError, match=r"train-00000.*truncated"):
        load(f"{kind}:{tmp_path}")
    shard.write_bytes(b"\x1f\x8b" + content[2:])
    with pytest.raises(UserError, match=r"compressed.*unpack"):
        load(f"{kind}:{tmp_path}")
    with pytest.raises(UserError, match="empty or a new folder"):
        write_shards(load(f"folder:{pictures}"), str(tmp_path), kind)


@both
@pytest.mark.parametrize("place", ["disk", "ram"])
def test_shards_that_were_not_written_to_their_end_are_no_set(kind, place, pictures, tmp_path):
    copy = shutil.copytree(pictures, tmp_path / "pictures")
    out = str(tmp_path / "out") if place == "disk" else f"ram://unfinished-{kind}/out"
    domain, last = load(f"folder:{copy}"), copy / "test" / "dog" / "39.jpg"
    content = last.read_bytes()
    last.unlink()
    with pytest.raises(UserError, match=r"39\.jpg cannot be opened"):
        write_shards(domain, out, kind)
    ending = SUFFIX[kind]
    assert sorted(tf.io.gfile.listdir(out)) == [f"train-00000.{ending}", "unfinished", f"val-00000.{ending}"]
    for source in (out, f"{out}/*"):
        with pytest.raises(UserError, match=r"not written to their end.*'tlkeras shards'.*'unfinished'"):
            load(f"{kind}:{source}")
    last.write_bytes(content)
    with pytest.raises(UserError, match=r"empty or a new folder"):
        write_shards(domain, out, kind)
    tf.io.gfile.rmtree(out)
    write_shards(domain, out, kind)
    assert not tf.io.gfile.exists(f"{out}/unfinished") and len(load(f"{kind}:{out}").splits["test"]) == 8


@both
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_that_does_not_speak_of_memory(kind, pictures, tmp_path, monkeypatch):
    real = shard_writing.replacing

    @contextlib.contextmanager
    def full(path):
        with real(path) as temporary:
            yield "/dev/full" if "train-" in path else temporary

    monkeypatch.setattr(shard_writing, "replacing", full)
    with pytest.raises(
        RunError, match=r"No space is left to write .*train-00000.*free some space, empty the"
    ):
        write_shards(load(f"folder:{pictures}"), str(tmp_path / "out"), kind)
    assert sorted(os.listdir(tmp_path / "out")) == ["unfinished"]


def test_mistakes_in_tar_files(tmp_path):
    tar_of(tmp_path / "a.tar", {"x.jpg": pixels(), "x.cls": b"cat", "y.jpg": pixels()})
    with pytest.raises(UserError, match=r"a\.tar:y has no label, but others have one.*1 of 2"):
        load(f"webdataset:{tmp_path}")
    tar_of(tmp_path / "a.tar", {"x.jpg": pixels(), "x.json": b"{"})
    with pytest.raises(UserError, match="label that cannot be read"):
        load(f"webdataset:{tmp_path}")
    tar_of(tmp_path / "a.tar", {"x.jpg": pixels(), "y.jpg": pixels()})
    with pytest.raises(UserError, match="has no labels, and a source domain needs them"):
        load(f"webdataset:{tmp_path}")
    tar_of(tmp_path / "a.tar", {"x.jpg": pixels(), "x.cls": b"2"})
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(UserError, match=r"lists 2 classes, so labels must be 0\.\.1\. Received: '2'"):
        load(f"webdataset:{tmp_path}")
    tar_of(tmp_path / "train-0.tar", {"x.jpg": pixels(), "x.cls": b"1"})
    with pytest.raises(UserError, match="some shards have a split in their names"):
        load(f"webdataset:{tmp_path}")
    with pytest.raises(UserError, match="no such folder"):
        load(f"webdataset:{tmp_path / 'gone'}")
    with pytest.raises(UserError, match="no shards of tfrecords"):
        load(f"tfrecords:{tmp_path}")


@pytest.mark.parametrize("names", ["cat\ndog", "cat\ndog\n", "cat\r\ndog\r\n", "cat\r\ndog"])
def test_names_of_classes_end_their_lines_as_any_editor_does(names, tmp_path):
    members = {}
    for number in range(4):
        members |= {f"{number}.png": pixels(), f"{number}.cls": str(number % 2).encode()}
    tar_of(tmp_path / "a.tar", members)
    (tmp_path / "classes.txt").write_bytes(names.encode())
    domain = load(f"webdataset:{tmp_path}", val_fraction=0, test_fraction=0)
    assert domain.class_names == ("cat", "dog") and domain.splits["train"].labels.tolist() == [0, 1, 0, 1]


def test_mistakes_in_records(tmp_path):
    records_of(tmp_path / "a.tfrecord", [{"picture": pixels(), "kind": 3}])
    with pytest.raises(UserError, match=r"\?content=NAME.*Received: kind, picture"):
        load(f"tfrecords:{tmp_path}")
    with pytest.raises(UserError, match=r"no feature 'pictur'.*Did you mean 'picture'"):
        load(f"tfrecords:{tmp_path}?content=pictur")
    with pytest.raises(UserError, match=r"option of.*content"):
        load(f"tfrecords:{tmp_path}?contents=picture")
    (tmp_path / "a.tfrecord").unlink()
    with tf.io.TFRecordWriter(str(tmp_path / "a.tfrecord")) as file:
        file.write(b"no example")
    with pytest.raises(UserError, match=r"record 0 is no tf\.train\.Example"):
        load(f"tfrecords:{tmp_path}")


def test_files_of_others_are_read(tmp_path):
    rows = [{"picture": pixels(), "kind": number % 3} for number in range(30)]
    records_of(tmp_path / "data.tfrecord-00000-of-00001", rows)
    domain = load(f"tfrecords:{tmp_path}?content=picture&label=kind", class_names=("a", "b", "c"))
    assert sum(map(len, domain.splits.values())) == 30 and domain.class_names == ("a", "b", "c")
    members = {}
    for number in range(20):
        key = f"some.folder/{number:03}"
        members |= {
            f"{key}.seg.png": pixels(),
            f"{key}.json": json.dumps({"label": ["a", "b"][: 1 + number % 2]}),
        }
    tar_of(
        tmp_path / "x.tar", {name: v if isinstance(v, bytes) else v.encode() for name, v in members.items()}
    )
    domain = load(f"webdataset:{tmp_path / 'x.tar'}", task="multilabel", val_fraction=0, test_fraction=0)
    assert domain.class_names == ("a", "b") and domain.splits["train"].labels[:2].tolist() == [[1, 0], [1, 1]]
    assert domain.splits["train"].ids[1] == "x.tar:some.folder/001"


def test_an_unknown_format_is_refused(tmp_path):
    vectors = load_domain(
        DataConfig(source="arrays"), seed=0, arrays={"train": (np.random.rand(20, 3), np.arange(20) % 2)}
    )
    with pytest.raises(UserError, match=r"format.*webdatset.*Did you mean 'webdataset'"):
        write_shards(vectors, str(tmp_path / "out"), "webdatset")
    assert not (tmp_path / "out").exists()

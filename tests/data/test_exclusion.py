"""`data.exclude`: a CSV file names rows that are left out."""

import numpy as np
import pytest

from tlkeras.config.data import DataConfig
from tlkeras.data.domains import load_domain
from tlkeras.data.inspection import leak_note
from tlkeras.errors import UserError
from tlkeras.evaluation.prediction_files import csv_text
from tlkeras.run_dir import write_text


def load(arrays=None, source="arrays", **how):
    return load_domain(DataConfig(source=source, **how), seed=0, arrays=arrays)


@pytest.fixture
def vectors():
    x = np.arange(200, dtype=np.float32).reshape(100, 2)
    return {"all": (x, np.arange(100) % 4)}


def write(path, text):
    write_text(path, text)
    return str(path)


def test_the_other_rows_stay_in_their_splits(vectors, tmp_path):
    whole = load(vectors, limit={"train": 40})
    gone = {split: str(rows.ids[3]) for split, rows in whole.splits.items()}
    file = write(tmp_path / "out.csv", "id,reason\n" + "".join(f"{name},odd\n" for name in gone.values()))
    left = load(vectors, limit={"train": 40}, exclude=file)
    for split, rows in whole.splits.items():
        assert left.splits[split].ids.tolist() == [name for name in rows.ids if name != gone[split]]
    assert left.fingerprint() != whole.fingerprint()  # so the run and its cached features are others
    assert left.splits["train"].fingerprint() != whole.splits["train"].fingerprint()


def test_a_row_beyond_the_limit_may_be_named(vectors, tmp_path):
    outside = set(map(str, load(vectors).splits["train"].ids))
    outside -= set(map(str, load(vectors, limit=8).splits["train"].ids))
    file = write(tmp_path / "out.csv", f"id\n{min(outside)}\n")
    assert len(load(vectors, limit=8, exclude=file).splits["train"]) == 8


def test_only_rows_with_yes_are_left_out_and_order_of_columns_does_not_matter(vectors, tmp_path):
    file = write(
        tmp_path / "out.csv", "leave_out,label,id\nyes,1,row:5\n NO ,1,row:6\n,1,row:7\nTrue,1,row:8\n"
    )
    left = load(vectors, exclude=file)
    ids = {str(name) for rows in left.splits.values() for name in rows.ids}
    assert {f"row:{i}" for i in range(100)} - ids == {"row:5", "row:8"}
    assert left.excluded.ids == {"row:5", "row:8"} and len(left.excluded.digest) == 64


def test_an_empty_list_leaves_out_nothing(vectors, tmp_path):
    for text in ("", "id\n"):
        file = write(tmp_path / "out.csv", text)
        assert load(vectors, exclude=file).fingerprint() == load(vectors).fingerprint()


def test_files_with_strange_names_are_found_as_tlkeras_writes_them(image_folder, tmp_path):
    root = image_folder({"": {"a": 8, "b": 8}})
    names = ["a/=odd, name.png", "a/line\nbreak.png", "b/ü 'quoted'.png", "b/caf\udce9.png"]
    for name, old in zip(names, sorted(root.rglob("*.png")), strict=False):
        (root / name).write_bytes(old.read_bytes())
    file = write(tmp_path / "out.csv", csv_text(["file"], [[name] for name in names]))
    whole, left = load(source=f"folder:{root}"), load(source=f"folder:{root}", exclude=file)
    ids = lambda domain: {str(name) for rows in domain.splits.values() for name in rows.ids}  # noqa: E731
    assert ids(whole) - ids(left) == set(names)


def test_an_id_that_begins_like_a_formula_is_found(vectors, tmp_path):
    paths = np.array([f"={i}.png" for i in range(12)], object)
    file = write(tmp_path / "out.csv", csv_text(["id"], [["=3.png"]]))
    from tlkeras.data.exclusion import read_exclusion
    from tlkeras.data.rows import Rows

    assert read_exclusion(file, {"all": Rows(paths, None, paths)}, "x").ids == {"=3.png"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id\nrow:5\nrwo:6\n", r"does not have. Did you mean 'row:6'\? Received: rwo:6 in"),
        ("name\nrow:5\n", "needs a column 'id' or 'file'"),
        ("id,leave_out\nrow:5,maybe\n", "line 2: leave_out must be yes or no. Received: 'maybe'"),
        ("id\n" + "".join(f"row:{i}\n" for i in range(0, 100, 4)), "a class without training rows"),
        ("id\n" + "".join(f"row:{i}\n" for i in range(100)), "leaves no row of"),
    ],
)
def test_mistakes_in_the_file_are_named(vectors, tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        load(vectors, exclude=write(tmp_path / "out.csv", text))


def test_a_file_that_is_not_there_or_no_text_is_named(vectors, tmp_path):
    with pytest.raises(UserError, match=r"data\.exclude cannot be read: No such file"):
        load(vectors, exclude=str(tmp_path / "none.csv"))
    (tmp_path / "picture.csv").write_bytes(b"\xff\xd8\xff\x00\x01")
    with pytest.raises(UserError, match="no CSV file in UTF-8"):
        load(vectors, exclude=str(tmp_path / "picture.csv"))


def test_a_training_row_among_test_rows_is_named_and_can_be_left_out(vectors, tmp_path):
    x, y = vectors["all"]
    arrays = {
        "train": (x[:80], y[:80]),
        "val": (x[80:90], y[80:90]),
        "test": (x[[90, 3, 85, 4]], y[[90, 3, 85, 4]]),
    }
    assert "The first of 2 is test test:1." in leak_note(load(arrays))
    file = write(tmp_path / "out.csv", "id\ntest:1\ntrain:4\n")
    assert leak_note(load(arrays, exclude=file)) == ""

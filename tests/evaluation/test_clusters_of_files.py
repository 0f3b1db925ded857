"""`tlkeras embed --clusters`: groups among pictures, and how well they agree with class folders."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkeras.cli.main import main
from tlkeras.runs.retrieval import folder_labels


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder of two class folders, blue and red, and one picture of no class."""
    for number in range(8):
        for name, colour in (("blue", (0, 0, 200)), ("red", (200, 0, 0))):
            (tmp_path / "pictures" / name).mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).integers(0, 30, (32, 32, 3))
            pixels = Image.fromarray((noise + colour).astype(np.uint8))
            pixels.save(tmp_path / "pictures" / name / f"{number}.png")
    pixels.save(tmp_path / "pictures/stray.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "pictures"


def test_clusters_are_written_and_compared_with_class_folders(trained, pictures, capsys):
    assert main(["embed", str(trained), "pictures", "--clusters=2"]) == 0
    said = capsys.readouterr().out
    assert "16 files in 2 class folders: NMI 1.000, ARI 1.000, matched accuracy 1.000" in said
    with open("clusters.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "cluster", "label"] and len(rows) == 17
    assert {row["label"] for row in rows} == {"blue", "red", ""}
    for row in rows:
        assert row["cluster"] == next(r["cluster"] for r in rows if r["label"] == (row["label"] or "red"))
    assert main(["embed", str(trained), "pictures/red", "--clusters=2", "--mixture", "--output=m.csv"]) == 0
    assert "NMI" not in capsys.readouterr().out and Path("m.csv").is_file()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--clusters=2", "--neighbors=2"], "Only one of --neighbors and --clusters"),
        (["--mixture"], "--mixture needs --clusters=K"),
        (["--clusters=2", "--output=x.npz"], "must end in .csv"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(trained, pictures, capsys, flags, message):
    assert main(["embed", str(trained), "pictures", *flags]) == 2
    assert message in capsys.readouterr().err


def test_the_folder_right_below_what_was_named_is_the_class():
    names = ["a/cats/1.png", "a/cats/young/2.png", "a/3.png", "b/4.png", "5.png"]
    assert folder_labels(names, ["a", "b/4.png", "5.png"]) == ["cats", "cats", None, None, None]

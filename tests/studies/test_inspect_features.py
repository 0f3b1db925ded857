"""`tlkeras inspect --features` from a folder of pictures to a table that `data.exclude` takes."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tlkeras.cli.main import main
from tlkeras.report import write_report


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """A folder of pictures with a wrong label and a copy across splits, and what is written about it."""
    folder = tmp_path_factory.mktemp("suspects")
    rng = np.random.default_rng(0)
    shades = {"dark": (60, 30, 30), "light": (200, 210, 180)}
    for split, count in (("train", 20), ("test", 4)):
        for name, shade in shades.items():
            place = folder / "data" / split / name
            place.mkdir(parents=True)
            for i in range(count):
                noise = Image.fromarray(rng.integers(0, 50, (5, 5, 3), dtype=np.uint8)).resize((24, 24), 3)
                Image.fromarray(np.asarray(noise) + np.array(shade, np.uint8)).save(place / f"{i:02d}.png")
    data = folder / "data"
    (data / "train/light/07.png").rename(data / "train/dark/wrong.png")
    with Image.open(data / "train/dark/03.png") as image:
        image.resize((36, 36), Image.BICUBIC).save(data / "test/dark/copy.png")
    words = [
        "--config=synthetic_smoke", "--set", f"data.source=folder:{data}", "--set", "data.image_size=24",
        "--set", f"cache.dir={folder / 'cache'}",
    ]  # fmt: skip
    assert main(["inspect", *words, "--features", f"--workdir={folder / 'out'}"]) == 0
    return folder, words


def table(folder):
    with open(folder / "out" / "suspects.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_names_the_planted_rows_with_reasons(found):
    rows = {(row["id"], row["finding"]): row for row in table(found[0])}
    wrong = rows["train/dark/wrong.png", "label"]
    assert wrong["suggested"] == "light" and wrong["split"] == "train" and "probability" in wrong["reason"]
    copy, kept = rows["train/dark/03.png", "near-duplicate"], rows["test/dark/copy.png", "near-duplicate"]
    assert copy["leave_out"] == "yes" and kept["leave_out"] == "no" and copy["group"] == kept["group"]
    assert "near-duplicate of test test/dark/copy.png" in copy["reason"]


def test_the_page_shows_them_with_pictures(found):
    page = (found[0] / "out" / "suspects.html").read_text("utf-8")
    for name in ("train/dark/wrong.png", "train/dark/03.png", "test/dark/copy.png"):
        assert f'alt="{name}"' in page
    assert "<strong>1 of them is in more than one split</strong>" in page


def test_the_edited_table_is_what_data_exclude_takes(found, tmp_path, capsys):
    folder, words = found
    lines = (
        (folder / "out" / "suspects.csv").read_text("utf-8").replace(",train,no,label,", ",train,yes,label,")
    )
    (tmp_path / "edited.csv").write_text(lines, encoding="utf-8")
    out = {line["id"] for line in csv.DictReader(lines.splitlines()) if line["leave_out"] == "yes"}
    capsys.readouterr()
    assert main(["inspect", *words, "--set", f"data.exclude={tmp_path / 'edited.csv'}", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["source"]["rows"]
    assert sum(rows.values()) == 49 - len(out) and "train/dark/03.png" in out


def test_an_edited_table_is_not_overwritten(found, tmp_path, capsys):
    folder, words = found
    old = (folder / "out" / "suspects.csv").read_text("utf-8")
    (folder / "out" / "suspects.csv").write_text(old.replace(",yes,", ",no,"), encoding="utf-8")
    try:
        assert main(["inspect", *words, "--features", f"--workdir={folder / 'out'}"]) == 2
        assert "was edited and would be overwritten" in capsys.readouterr().err
    finally:
        (folder / "out" / "suspects.csv").write_text(old, encoding="utf-8")


def test_what_cannot_be_inspected_is_said(capsys):
    assert main(["inspect", "--config=digits", "--workdir=x"]) == 2
    assert "--workdir is the output folder of --features" in capsys.readouterr().err


def test_the_report_of_a_run_shows_what_lies_in_its_folder(found, run_copy):
    write_report(run_copy)
    assert "Suspicious rows" not in (run_copy / "report.html").read_text("utf-8")
    shutil.copytree(found[0] / "out", run_copy / "evaluation" / "suspects")
    write_report(run_copy)
    page = (run_copy / "report.html").read_text("utf-8")
    assert '<h2 id="suspects-h">Suspicious rows</h2>' in page and 'alt="train/dark/wrong.png"' in page

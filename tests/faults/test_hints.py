"""Words that other programs would take: one line that says how it is called here, exit code 2."""

import errno
import os

import pytest

from tlkeras.cli.main import main
from tlkeras.config import apply_overrides, load_config

MEANT = {
    "--epochs=3": "--set stages.0.epochs=3?",
    "--epoch=3": "--set stages.0.epochs=3?",
    "--seed=1": "--set seed=1?",
    "--lr=0.1": "--set stages.0.optimizer.learning_rate=0.1?",
    "--learning_rate 1e-3": "--set stages.0.optimizer.learning_rate=1e-3?",
    "--learning-rate=1e-3": "--set stages.0.optimizer.learning_rate=1e-3?",
    "--batch_size=8": "--set data.batch_size=8?",
    "--backbone=resnet50": "--set model.backbone=resnet50?",
    "--model=resnet50": "--set model.backbone=resnet50?",
    "--weights=none": "--set model.weights=none?",
    "--dropout=0.5": "--set model.neck.dropout=0.5?",
    "--image_size=96": "--set data.image_size=96?",
    "--data=folder:X": "--set data.source=folder:X?",
    "--optimizer=adam": "--set stages.0.optimizer.name=adam?",
    "--weight_decay=1e-4": "--set stages.0.optimizer.weight_decay=1e-4?",
    "--patience=3": "--set stages.0.early_stopping.patience=3?",
    "--method=dann": "--set adaptation.method=dann?",
    "--precision=mixed_float16": "--set runtime.precision=mixed_float16?",
    "--stages.1.epochs=3": "--set stages.1.epochs=3?",
    "--epochs": "--set stages.0.epochs=...?",
    "--dry-run": "--dry_run?",
    "--confg=digits": "--config?",
    "image_folder": "--config=image_folder?",
    "imagefolder": "--config=image_folder?",
    "mine.py": "--config=mine.py?",
    "stages.0.epochs=3": "--set stages.0.epochs=3?",
    "folder:PICTURES": "--set data.source=folder:PICTURES?",
}


def said(capsys, *words) -> str:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize("words", MEANT)
@pytest.mark.parametrize("command", ["train", "sweep"])
def test_what_was_meant_is_named(capsys, tmp_path, monkeypatch, command, words):
    monkeypatch.chdir(tmp_path)
    line = said(capsys, command, *words.split())
    assert any(f"{asked} {MEANT[words]}" in line for asked in ("Did you mean", "or"))
    assert ".." not in line.replace("...", "") and " ?" not in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("word", "meant"), [
    ("pictures", "folder:pictures"), ("rows.csv", "csv:rows.csv"), ("rows.npz", "npz:rows.npz"),
])  # fmt: skip
def test_a_word_that_names_data_is_taken_for_data(capsys, tmp_path, monkeypatch, word, meant):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    assert f"Did you mean --set data.source={meant}?" in said(capsys, "train", "--config=image_folder", word)


@pytest.mark.parametrize(("words", "wrong"), [
    ("sweep --config=digits --seeds=1,2", "--seeds takes a positive integer. Received: --seeds=1,2"),
    ("rank --config=digits --rows=3", "--rows takes integer >= 20. Received: --rows=3"),
    ("train --fresh=maybe", "--fresh takes true or false. Received: --fresh=maybe"),
])  # fmt: skip
def test_a_wrong_value_of_a_flag(capsys, words, wrong):
    assert said(capsys, *words.split()) == f"tlkeras: {wrong}"


@pytest.mark.parametrize("words", ["list", "clear", "clear --yes", "clear 0123"])
def test_a_cache_that_is_not_there(capsys, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    assert "no such folder. Received: --dir=TYPO" in said(capsys, "cache", "--dir=TYPO", *words.split())


SETTINGS = [hint.removeprefix("--set ").rstrip("?") for hint in MEANT.values() if "--set" in hint]


@pytest.mark.parametrize("setting", sorted({setting for setting in SETTINGS if "..." not in setting}))
def test_what_a_hint_says_can_be_set(setting):
    apply_overrides(
        load_config("synthetic_full"), ["adaptation.target.source=digits", setting]
    )  # refuses others


@pytest.mark.parametrize(
    "words", [["report", "--epochs=3"], ["evaluate", "RUN", "--seed=1"], ["train", "--zzz=1"]]
)
def test_no_hint_where_nothing_can_be_set(capsys, words):
    assert "Did you mean" not in said(capsys, *words)


@pytest.mark.parametrize(("words", "advice"), [
    (["report", "RUN"], "--output sets another place"),
    (["compare", "RUN", "--output=OUT/a.html"], "--output sets another place"),
    (["predict", "RUN", "RUN", "--output=OUT/a.csv"], "--output sets another place"),
    (["export", "RUN", "--format=keras"], "copy of the run"),
    (["train", "--config=synthetic_smoke", "--workdir=OUT/run"], "--workdir sets another place"),
])  # fmt: skip
def test_a_disk_that_cannot_be_written_names_a_flag_of_the_command(
    run_copy, capsys, monkeypatch, words, advice
):
    from tlkeras.run_dir import atomic

    def refuse(*given, **named):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (run_copy.parent / "pictures").mkdir()
    monkeypatch.setattr(atomic, "_put_in_place", refuse)
    opened = os.open

    def read_only(path, *given, **named):  # the place of the run alone: a gate may write temporary files
        return (refuse if str(path).startswith(str(run_copy.parent)) else opened)(path, *given, **named)

    monkeypatch.setattr("tlkeras.run_dir.lock.os.open", read_only, raising=False)
    places = {"RUN": str(run_copy), "OUT": str(run_copy.parent)}
    for name, place in places.items():
        words = [word.replace(name, place) for word in words]
    capsys.readouterr()
    line = said(capsys, *words)
    assert "read-only disk: choose another place" in line and advice in line
    assert ("--workdir" in line) == ("--workdir" in advice)

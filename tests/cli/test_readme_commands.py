"""Every command of README's table is run, on tiny pictures and in one process."""

import glob
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tlkeras.cli.main import COMMANDS, main
from tlkeras.config import ExperimentConfig

README = Path(__file__).parents[2] / "README.md"
TINY = "--config=tiny.json"
# What stands in the table, and the words with which it is run.
RUN_AS = {
    "tlkeras train --config=X --workdir=DIR": ["train --config=tiny.json --workdir=RUN"],
    "tlkeras extract --config=X": [f"extract {TINY}"],
    "tlkeras plan --config=X": [f"plan {TINY}"],
    "tlkeras inspect --config=X": [f"inspect {TINY}"],
    "tlkeras shards --config=X --output=DIR": [f"shards {TINY} --output=shards"],
    "tlkeras list backbones|heads|experiments|sources|optimizers|methods|validators|regularizers": [
        "list backbones --filter=*b0*", "list heads", "list experiments", "list sources", "list optimizers",
        "list methods", "list validators", "list regularizers",
    ],
    "tlkeras evaluate RUN": ["evaluate RUN"],
    "tlkeras predict RUN PATH...": ["predict RUN PICTURES PICTURES/apples/0.png"],
    "tlkeras report RUN...": ["report RUN"],
    "tlkeras compare RUN...": ["compare RUN sweep/* --output=compare.html"],
    "tlkeras embed RUN PATH...": ["embed RUN PICTURES --output=embedding.csv"],
    "tlkeras export RUN --format=...": ["export RUN --format=keras,saved_model,litert,onnx"],
    "tlkeras demo RUN": ["demo RUN --nobrowser"],
    "tlkeras card RUN": ["card RUN"],
    "tlkeras push RUN --to=hf://USER/NAME": ["push RUN --to=published"],
    "tlkeras sweep --config=X": [f"sweep {TINY} --seeds=2 --workdir=sweep"],
    "tlkeras merge RUN RUN --workdir=DIR": ["merge RUN RUN --workdir=merged"],
    "tlkeras rank --config=X --candidates=...": [
        f"rank {TINY} --candidates=small_cnn:none --workdir=ranking"
    ],
    "tlkeras auto --config=X --budget=20m": [
        f"auto {TINY} --candidates=small_cnn:none --budget=20m --workdir=searched"
    ],
    "tlkeras adapt RUN --target=SOURCE": ["adapt RUN --target=folder:PICTURES --workdir=adapted"],
    "tlkeras reproduce RUN": ["reproduce RUN"],
    "tlkeras find_lr": [f"find_lr {TINY} --workdir=found"],
    "tlkeras profile": [f"profile {TINY} --workdir=profiled"],
    "tlkeras cache list|clear": ["cache list", "cache clear --yes"],
    "tlkeras doctor": ["doctor"],
}  # fmt: skip


def table() -> list[str]:
    """Returns the commands of README's table as they stand there."""
    text = README.read_text("utf-8").partition("| command | what it does |")[2].partition("\n\n")[0]
    firsts = [re.split(r"(?<!\\)\|", line)[1] for line in text.splitlines() if line.startswith("| `")]
    return [code.replace("\\|", "|") for first in firsts for code in re.findall(r"`(.*?)`", first)]


def test_the_table_names_every_command_and_each_is_run():
    assert table() == list(RUN_AS)
    assert {command.split()[1] for command in table()} == set(COMMANDS)
    run = {words.split()[0] for every in RUN_AS.values() for words in every}
    assert run == set(COMMANDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder in which a reader stands: pictures of three kinds, a config, and a cache of its own."""
    folder = tmp_path_factory.mktemp("reader")
    rng = np.random.default_rng(0)
    for label, kind in enumerate(("apples", "leaves", "skies")):
        (folder / "PICTURES" / kind).mkdir(parents=True)
        for number in range(12):
            pixels = rng.integers(0, 60, (20, 24, 3)) + np.eye(3, dtype=int)[label] * 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "PICTURES" / kind / f"{number}.png")
    config = ExperimentConfig(
        name="tiny",
        data={"source": "folder:PICTURES", "image_size": 16, "batch_size": 8},
        model={"backbone": "small_cnn", "weights": None, "backbone_options": {"filters": [4, 8]}},
        stages=[{"name": "head", "epochs": 1}],
    )
    (folder / "tiny.json").write_text(config.model_dump_json())
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


# the sweep stands before what compares its runs
ORDER = sorted((words for every in RUN_AS.values() for words in every), key=lambda w: w.startswith("compare"))


@pytest.mark.parametrize("words", ORDER)
def test_a_command_of_the_table_ends_with_zero(folder, capsys, monkeypatch, words):
    words = [found for word in words.split() for found in _globbed(folder, word)]
    if words[0] != "train" and not (folder / "RUN").exists():  # this test alone was asked for
        assert main(["train", TINY, "--workdir=RUN"]) == 0
    if words[0] == "auto":
        pytest.importorskip("optuna")
        end_after_one_trial(monkeypatch)
    if words[0] == "demo":
        monkeypatch.setattr(pytest.importorskip("uvicorn").Server, "run", lambda self, sockets: None)
    assert main(words) == 0, capsys.readouterr().err


def end_after_one_trial(monkeypatch):
    """Ends a search after its first trial, however long that takes on a busy machine."""
    from tlkeras.studies.auto import _Search

    attempt = _Search._try

    def once(self, trial):
        ended = attempt(self, trial)
        self.budget = 0
        return ended

    monkeypatch.setattr(_Search, "_try", once)


def _globbed(folder, word):
    """Returns the folders that a shell puts in place of a word, without hidden ones."""
    return sorted(filter(os.path.isdir, glob.glob(f"{folder}/{word}"))) if word == "sweep/*" else [word]

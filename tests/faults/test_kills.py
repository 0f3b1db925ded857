"""Runs killed with -9 end with the same weights as runs left alone. The long part is scripts/soak.sh."""

import random

import pytest
from kill_chain import run_with_kills
from run_outcome import check_books, differences, outcome


def settings(*pairs: str) -> list[str]:
    """Returns `--set` flags."""
    return [word for pair in pairs for word in ("--set", pair)]


SMALL = settings("data.limit=64", "data.batch_size=16", "stages.1.epochs=2", "checkpoint.every_steps=2")
ADAPTING = settings(
    "adaptation.method=wasserstein",
    'adaptation.options={"critic_steps": 1}',
    "adaptation.target.source=synthetic:shapes",
    "adaptation.target.limit=64",
    "adaptation.twin=false",
)
MIRRORED = ["--strategy=mirrored", *settings("runtime.devices=2")]


@pytest.mark.parametrize(
    "words, kills, seed",
    [([], 3, 5), ([*ADAPTING, *MIRRORED], 2, 7)],
    ids=["one device", "adapting, mirrored"],
)
def test_killed_run_ends_like_one_left_alone(server, tmp_path, words, kills, seed):
    train = ["train", "--config=synthetic_full", *SMALL, *words]

    def in_place(name):
        return [
            *train,
            f"--workdir={tmp_path / name / 'run'}",
            "--set",
            f"cache.dir={tmp_path / name / 'cache'}",
        ]

    alone = server.run(*in_place("alone"))
    assert alone.code == 0, alone.output
    # the cache's folder is part of the config: each run has its own, so that kills fall into its writing too
    chain = run_with_kills(
        server, in_place("killed"), tmp_path / "killed", kills, random.Random(seed), events=70
    )
    assert chain.code == 0, chain.output
    assert len(chain.moments) == kills, chain.moments
    assert differences(outcome(tmp_path / "alone/run"), outcome(tmp_path / "killed/run")) == [], chain.moments
    check_books(tmp_path / "killed/run", {"00_head": 2, "01_all": 2})
    again = server.run(*in_place("killed"))
    assert again.code == 0 and "finished already" in again.output

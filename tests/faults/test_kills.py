"""Runs killed with -9 end with the same weights as runs left alone. The long part is scripts/soak.sh."""

import random

import pytest
from fault_words import ADAPTING, MIRRORED, train
from kill_chain import run_with_kills
from run_outcome import check_books, differences, outcome


@pytest.mark.parametrize(
    "words, kills, seed",
    [([], 3, 5), ([*ADAPTING, *MIRRORED], 2, 7)],
    ids=["one device", "adapting, mirrored"],
)
def test_killed_run_ends_like_one_left_alone(server, tmp_path, words, kills, seed):
    alone = server.run(*train(tmp_path / "alone", *words))
    assert alone.code == 0, alone.output
    killed = tmp_path / "killed"
    chain = run_with_kills(server, train(killed, *words), killed, kills, random.Random(seed), events=70)
    assert chain.code == 0, chain.output
    assert len(chain.moments) == kills, chain.moments
    assert differences(outcome(tmp_path / "alone/run"), outcome(killed / "run")) == [], chain.moments
    check_books(killed / "run", {"00_head": 2, "01_all": 2})
    assert not list(killed.rglob(".*.tmp*")), "what killed processes left is cleared away"
    again = server.run(*train(killed, *words))
    assert again.code == 0 and "finished already" in again.output

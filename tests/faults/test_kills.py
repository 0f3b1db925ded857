"""Runs killed with -9 end with the same weights as runs left alone. The long part is scripts/soak.sh."""

import random

from fault_words import ADAPTING, MIRRORED, train
from kill_chain import run_with_kills
from run_outcome import check_books, differences, outcome


def test_killed_run_ends_like_one_left_alone(server, tmp_path, alone):
    check_killed_run(server, tmp_path, [], 3, 5, alone)


def test_and_so_where_it_adapts_on_two_replicas(server, tmp_path):
    words = [*ADAPTING, *MIRRORED]
    ended = server.run(*train(tmp_path / "alone", *words))
    assert ended.code == 0, ended.output
    check_killed_run(server, tmp_path / "killed", words, 2, 7, outcome(tmp_path / "alone/run"))


def check_killed_run(server, killed, words, kills, seed, wanted):
    """Asserts that a run killed so often ends with the wanted outcome, its books in order."""
    chain = run_with_kills(server, train(killed, *words), killed, kills, random.Random(seed), events=70)
    assert chain.code == 0, chain.output
    assert len(chain.moments) == kills, chain.moments
    assert differences(wanted, outcome(killed / "run")) == [], chain.moments
    check_books(killed / "run", {"00_head": 2, "01_all": 2})
    assert not list(killed.rglob(".*.tmp*")), "what killed processes left is cleared away"
    again = server.run(*train(killed, *words))
    assert again.code == 0 and "finished already" in again.output

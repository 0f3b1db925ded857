"""Runs killed with -9 end with the same weights as runs left alone. The long part is scripts/soak.sh."""

import random

import pytest
from fault_words import ADAPTING, MIRRORED, train
from kill_chain import run_with_kills
from run_outcome import check_books, differences, outcome
from variants import further


@pytest.mark.parametrize(
    ("words", "kills", "seed"), [([], 3, 5), ([*ADAPTING, *MIRRORED], 2, 7)], ids=["plain", "mirrored"]
)
def test_killed_run_ends_like_one_left_alone(server, tmp_path, request, words, kills, seed):
    wanted, killed = alone(server, tmp_path, words, request), tmp_path / "killed"
    chain = run_with_kills(server, train(killed, *words), killed, kills, random.Random(seed), events=70)
    assert chain.code == 0, chain.output
    assert len(chain.moments) == kills, chain.moments
    assert differences(wanted, outcome(killed / "run")) == [], chain.moments
    check_books(killed / "run", {"00_head": 2, "01_all": 2})
    assert not list(killed.rglob(".*.tmp*")), "what killed processes left is cleared away"
    again = server.run(*train(killed, *words))
    assert again.code == 0 and "finished already" in again.output


def alone(server, folder, words, request):
    """Returns what the run comes to if nobody disturbs it."""
    if not words:  # other files look at the same run
        return request.getfixturevalue("alone")
    ended = server.run(*train(folder / "alone", *words))
    assert ended.code == 0, ended.output
    return outcome(folder / "alone/run")


@pytest.mark.parametrize("strategy", [pytest.param([], id="one device"), further(MIRRORED, id="mirrored")])
def test_and_so_where_it_adapts_and_a_stage_is_done(server, tmp_path, strategy):
    """The process that goes on makes fewer models than the one that was killed."""
    ended = server.run(*train(tmp_path / "alone", *ADAPTING, *strategy))
    assert ended.code == 0, ended.output
    killed = tmp_path / "killed"
    words = train(killed, *ADAPTING, *strategy)
    assert server.run(*words, within=str(killed), path="01_all/checkpoint", at_event=6).code == -9
    assert list((killed / "run/stages/01_all/checkpoint").iterdir()), "nothing to go on from"
    ended = server.run(*words)
    assert ended.code == 0, ended.output
    assert differences(outcome(tmp_path / "alone/run"), outcome(killed / "run")) == []
    check_books(killed / "run", {"00_head": 2, "01_all": 2})

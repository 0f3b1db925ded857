"""Runs on texts, sounds, columns and several of them: killed with -9, and without the feature cache."""

import json
import random

import pytest
from fault_words import settings
from kill_chain import run_with_kills
from modality_runs import KINDS, write
from run_outcome import check_books, differences, outcome, saved_weights
from variants import all_but


def train(config, folder, *more: str) -> list[str]:
    places = [f"--workdir={folder / 'run'}", *settings(f"cache.dir={folder / 'cache'}")]
    return ["train", f"--config={config}", *places, *more]


@pytest.fixture(scope="module", params=all_but(["image_text_columns"], KINDS))
def undisturbed(request, server, tmp_path_factory):
    """The config of a run, and what the run comes to if nobody disturbs it."""
    folder = tmp_path_factory.mktemp(request.param)
    config = write(request.param, folder / "rows")
    ended = server.run(*train(config, folder))
    assert ended.code == 0, ended.output
    events = [json.loads(line) for line in (folder / "run/ledger.jsonl").read_text().splitlines()]
    assert next(e for e in events if e["event"] == "completed")["extraction_seconds"] > 0 or (
        request.param == "columns"
    )
    return config, outcome(folder / "run"), saved_weights(folder / "run/best.keras")


def test_a_run_that_is_killed_twice_ends_with_the_same_bits(undisturbed, server, tmp_path):
    config, wanted, _ = undisturbed
    chain = run_with_kills(server, train(config, tmp_path), tmp_path, 2, random.Random(4), events=70)
    assert chain.code == 0, chain.output
    assert len(chain.moments) == 2, chain.moments
    assert differences(wanted, outcome(tmp_path / "run")) == [], chain.moments
    check_books(tmp_path / "run", {"00_head": 2, "01_all": 2})


def test_a_run_without_stored_features_ends_with_the_same_bits(undisturbed, server, tmp_path):
    config, _, wanted = undisturbed
    ended = server.run(*train(config, tmp_path, *settings("cache.enabled=false")))
    assert ended.code == 0, ended.output
    assert differences(wanted, saved_weights(tmp_path / "run/best.keras")) == []

"""One workdir, one run at a time, one config; --fresh keeps what was there."""

import json

from fault_words import settings, train


def test_second_run_in_a_workdir_is_refused(server, second_server, tmp_path):
    first = server.start(*train(tmp_path, *settings("stages.1.epochs=3000")))
    first.wait_for("[2/2] all: epoch 1/")
    before = (tmp_path / "run/ledger.jsonl").read_bytes()
    for more in ([], ["--fresh"]):
        second = second_server.run(*train(tmp_path, *settings("stages.1.epochs=3000"), *more))
        assert second.code == 2 and f"process {first.pid}" in second.error, second
        assert len(second.error.splitlines()) == 1
    assert (tmp_path / "run/ledger.jsonl").read_bytes() == before
    assert not list(tmp_path.glob("run.old*"))
    first.kill()
    first.wait()


def test_another_config_is_refused_and_fresh_keeps_the_old_run(server, tmp_path):
    stop = {"within": str(tmp_path), "path": "00_head/checkpoint", "at_event": 1}
    assert server.run(*train(tmp_path), **stop).code == -9
    kept = {
        p.relative_to(tmp_path / "run"): p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()
    }
    other = train(tmp_path, *settings("stages.1.epochs=5", "seed=3"))
    refused = server.run(*other)
    assert refused.code == 2 and "--fresh" in refused.error, refused
    assert (
        "stages.1.epochs: received 5, there 2" in refused.error and "seed: received 3, there" in refused.error
    )
    assert {p.relative_to(tmp_path / "run") for p in (tmp_path / "run").rglob("*") if p.is_file()} == set(
        kept
    )
    assert server.run(*other, "--fresh", **stop).code == -9
    assert json.loads((tmp_path / "run/config.json").read_text())["seed"] == 3
    for name, content in kept.items():
        if name.name != ".lock":
            assert (tmp_path / "run.old-1" / name).read_bytes() == content, name

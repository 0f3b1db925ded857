"""Whole runs by `tlkeras train` end at the same weights everywhere, are stopped, killed, and go on."""

import json

import numpy as np
import pytest
from small_runs import experiment
from variants import further
from worker_processes import finish, start

from tlkeras.run_dir import CheckpointStore, Ledger

LAST_EPOCH_BUT_ONE = "[2/2] all: epoch 3/4"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("whole_runs")


@pytest.fixture(scope="module")
def configs(folder):
    """The experiments' files, by name."""
    paths = {}
    for name in ("stages", "adapted"):
        paths[name] = folder / f"{name}.json"
        values = experiment(name, str(folder / f"cache_{name}")).model_dump(mode="json")
        paths[name].write_text(json.dumps(values))
    paths["smoke"] = "synthetic_smoke"
    return paths


@pytest.fixture(scope="module")
def finished(folder, configs):
    """Undisturbed runs, each trained when first asked for: `{(experiment, topology): workdir}`."""

    class Runs(dict):
        def __missing__(self, key):
            name, topology = key
            workdir = folder / f"{name}_{topology}"
            own_cache = ["--set", f"cache.dir={workdir}_cache"] if name == "smoke" else []
            finish(start(topology, configs[name], workdir, folder / "logs" / name, *own_cache))
            self[key] = workdir
            return workdir

    return Runs()


def weights(workdir) -> dict[str, np.ndarray]:
    """Returns the last weights of a run and its best ones."""
    last, _ = CheckpointStore(workdir / "stages" / "01_all" / "checkpoint").load()
    best, _ = CheckpointStore(workdir / "stages" / "best").load()
    last = {k: v for k, v in last.items() if k.startswith("model/") and "seed_generator" not in k}
    return last | {f"best/{k}": v for k, v in best.items() if "seed_generator" not in k}


def assert_equal_weights(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys() and len(one) >= 10
    for name, values in one.items():
        np.testing.assert_allclose(other[name], values, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("name", "topology"),
    [
        ("stages", "workers"),
        ("adapted", "mirrored"),
        ("stages", "one_with_onednn"),
        further("stages", "mirrored"),
        further("adapted", "workers"),
        further("smoke", "mirrored"),
        further("smoke", "workers"),
        further("smoke", "one_with_onednn"),
    ],
)
def test_equal_weights_and_metrics(finished, name, topology):
    one, other = finished[name, "one"], finished[name, topology]
    assert_equal_weights(one, other)
    expected, received = (json.loads((run / "evaluation/metrics.json").read_text()) for run in (one, other))
    if name == "smoke":
        for metrics in (expected, received):
            assert metrics["source"]["test"]["accuracy"] > 0.9
        return
    for domain, splits in expected.items():
        for split, values in splits.items():
            assert received[domain][split]["accuracy"] == values["accuracy"], (domain, split)


def test_training_moved_the_weights(finished):
    for name in ("stages", "adapted"):
        start_state, _ = CheckpointStore(finished[name, "one"] / "stages" / "00_head" / "start").load()
        last = weights(finished[name, "one"])
        moved = [k for k, v in start_state.items() if np.abs(last.get(f"model/{k}", v) - v).max() > 1e-3]
        assert any("conv" in k for k in moved) and any("head" in k or "logits" in k for k in moved), moved


@pytest.mark.parametrize("topology", ["one", "mirrored", further("workers")])
def test_features_were_cached_where_they_can_be(finished, topology):
    note = finished["adapted", topology] / "stages" / "00_head" / "features.json"
    assert json.loads(note.read_text())["extractor"]


def test_only_the_chief_writes(folder, finished):
    events = Ledger(finished["stages", "workers"] / "ledger.jsonl").records()
    assert [e["event"] for e in events].count("started") == 2  # one for each stage
    assert (finished["stages", "workers"] / "report.html").exists()
    chief, other = ((folder / "logs" / "stages" / f"workers_{i}.log").read_text() for i in (0, 1))
    assert "epoch 1/3" in chief and "epoch 1/3" not in other


@pytest.mark.parametrize(("first", "second"), [("mirrored", "one"), further("one", "mirrored")])
def test_a_stopped_run_goes_on_with_another_number_of_replicas(folder, configs, finished, first, second):
    workdir, logs = folder / f"{first}_to_{second}", folder / "logs" / first
    (training,) = start(first, configs["stages"], workdir, logs)
    training.wait_for(LAST_EPOCH_BUT_ONE)
    training.stop()
    assert training.wait() == 143, training.output[-2000:]
    finish(start(second, configs["stages"], workdir, logs))
    assert_equal_weights(finished["stages", "one"], workdir)


@pytest.mark.parametrize(("lost", "again"), [(0, "workers_by_flags"), further(1, "workers")])
def test_a_killed_worker_ends_the_other_and_both_go_on(folder, configs, finished, lost, again):
    workdir, logs = folder / f"killed_{lost}", folder / "logs" / f"killed_{lost}"
    workers = start("workers", configs["stages"], workdir, logs)
    workers[0].wait_for(LAST_EPOCH_BUT_ONE)
    workers[lost].kill()
    left = workers[1 - lost]
    try:
        assert left.wait() == 1, left.output[-3000:]
    finally:
        left.kill()
    assert "Start all workers again" in left.output, left.output[-3000:]
    assert not (workdir / "report.html").exists()
    finish(start(again, configs["stages"], workdir, logs / "again"))
    assert_equal_weights(finished["stages", "workers"], workdir)
    events = [e["event"] for e in Ledger(workdir / "ledger.jsonl").records()]
    assert "resumed" in events
    assert json.loads((workdir / "manifest.json").read_text())["runtime"]["workers"] == 2

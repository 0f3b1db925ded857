"""One device, two mirrored CPUs and two workers end at the same numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
from free_ports import free_ports
from variants import further
from worker_processes import SERVER, finish, start_script

SCRIPT = Path(__file__).parent / "topology_cases.py"
TOPOLOGIES = ("mirrored", "worker_0", "worker_1")
EQUAL_CASES = (
    "plain",
    "adam_with_schedule_and_decay",
    "clipped_by_global_norm",
    "clipped_by_norm",
    "accumulated",
    "moving_average",
    "several_steps_per_execution",
    "hand_written_loss",
    "synchronized_batch_norm",
    "uneven_evaluation_and_order",
)
OTHER_CASES = ("dropout_masks", "optimizer_state")
# clipping, an average and several steps per call in one; a train step of its own; rows that do not divide
BY_WORKERS = ("accumulated", "hand_written_loss", "uneven_evaluation_and_order")


@pytest.fixture(scope="module")
def results(tmp_path_factory, request):
    """What each topology's process wrote: `{topology: {"case/key": array}}`, of the tests that run."""
    here = [item.callspec.params for item in request.session.items if item.path == request.path
            and hasattr(item, "callspec")]  # fmt: skip
    by_workers = {p["case"] for p in here if p["topology"].startswith("worker") and "case" in p}
    folder = tmp_path_factory.mktemp("topologies")
    strategies = {
        "one": "none",
        "mirrored": "mirrored",
        "worker_0": "multi_worker",
        "worker_1": "multi_worker",
    }

    def started(name, addresses, together):
        cluster, asked = None, EQUAL_CASES
        if name.startswith("worker"):
            task = {"type": "worker", "index": int(name[-1])}
            cluster = json.dumps({"cluster": {"worker": addresses}, "task": task})
            asked = sorted(by_workers)
        words = (strategies[name], str(folder / f"{name}.npz"), *asked, *OTHER_CASES)
        log = folder / f"{name}.log"
        return start_script(SCRIPT, *words, cluster=cluster, log=log, together=together)

    for group in (("one", "mirrored"), ("worker_0", "worker_1")):  # two at a time: two cores will do
        addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
        together = SERVER.Barrier(len(group))
        finish([started(name, addresses, together) for name in group])
    return {name: dict(np.load(folder / f"{name}.npz")) for name in strategies}


@pytest.mark.parametrize(
    ("case", "topology"),
    [
        (case, topology) if topology == "mirrored" or case in BY_WORKERS else further(case, topology)
        for case in EQUAL_CASES
        for topology in TOPOLOGIES
    ],
)
def test_every_topology_equals_one_device(results, case, topology):
    keys = [key for key in results["one"] if key.startswith(f"{case}/")]
    assert keys
    for key in keys:
        np.testing.assert_allclose(
            results[topology][key], results["one"][key], rtol=0, atol=1e-5, err_msg=key
        )


def test_the_cases_differ_from_each_other(results):
    """Otherwise equality would say nothing: clipping, accumulation and averaging must have acted."""
    one = results["one"]
    plain = one["plain/weights"]
    for case in ("clipped_by_global_norm", "clipped_by_norm", "accumulated", "moving_average"):
        assert np.abs(one[f"{case}/weights"] - plain).max() > 1e-2, case
    assert np.abs(one["moving_average/before"] - plain).max() < 1e-6
    assert np.abs(one["moving_average/val_loss"][-1] - one["moving_average/loss"][-1]) > 1e-3


def test_several_steps_per_execution_change_nothing_but_the_calls(results):
    one = results["one"]
    np.testing.assert_array_equal(one["several_steps_per_execution/weights"], one["plain/weights"])
    np.testing.assert_array_equal(one["several_steps_per_execution/loss"], one["plain/loss"])
    assert one["several_steps_per_execution/ends"].tolist() == [2, 4] * 4


def test_a_multiplier_of_zero_freezes(results):
    assert np.all(results["one"]["adam_with_schedule_and_decay/weights"][-3:] == 0)


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_replicas_draw_different_dropout_masks(results, topology):
    one, masks = results["one"]["dropout_masks/masks"], results[topology]["dropout_masks/masks"]
    assert masks.shape == (16, 64)
    first, second = masks[:4], masks[4:8]
    assert 0.3 < (first != second).mean() < 0.7
    assert 0.3 < (masks[:8] != masks[8:]).mean() < 0.7
    np.testing.assert_array_equal(first, one[:4])


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_optimizer_state_is_the_same_everywhere(results, topology):
    key = "optimizer_state/shapes"
    assert results[topology][key].tolist() == results["one"][key].tolist()

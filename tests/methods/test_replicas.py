"""One device, two mirrored CPUs and two workers end at the same weights and logs."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from variants import all_but

from tlkeras.backend import replicas
from tlkeras.methods.adapt import METHODS, Pair, make_method
from tlkeras.methods.regularize import REGULARIZERS

AGREEMENT = Path(__file__).parents[2] / "benchmarks" / "replicas_agree.py"
# docs/scaling.md says why: random points of the critic's penalty, and statistics of the replica's own rows
DIFFER = ("wasserstein", "stochastic_norm, statistics of each replica")
ALL = [case for case in runpy.run_path(str(AGREEMENT))["CASES"] if case not in DIFFER]
# of each kind: rows gathered with and without labels, a reversal, variables that a regularizer adds
SOME = ("dann", "cdan_e", "mcc", "deep_coral", "bss", "co_tuning", "delta", "mixout", "lora")
# the rows that their losses need from other replicas are those of cdan_e, mdd, jan, mcc or delta
ALIKE = ("cdan", "mcd", "dan", "mean_distance", "afn", "none", "bnm", "l2_sp")


@pytest.fixture(scope="module")
def apart(last_json, request):
    """The largest difference of weights and logs from one device, for the tests that run."""
    here = [item for item in request.session.items if "apart" in getattr(item, "fixturenames", ())]
    asked = [item.callspec.params for item in here]
    some = dict.fromkeys(p["case"] for p in asked if "topology" in p)
    mirrored = dict.fromkeys(p["case"] for p in asked if "topology" not in p)
    topologies = ["mirrored", *(("copied", "workers") if some else ())]
    return last_json(
        AGREEMENT, "--topologies", *topologies, "--only", *(mirrored or some), "--some", *(some or mirrored)
    )


# importance weights add no loss of their own
WITH_A_LOSS = [name for name, method in METHODS.items() if method.acts_on_features]


def require_equal(found, topology):
    assert found["moved"] > 0.05
    assert isinstance(found[topology], float), found[topology]
    assert found[topology] < 1e-5


@pytest.mark.parametrize("case", all_but([case for case in ALL if case not in ALIKE], ALL))
def test_two_mirrored_cpus_equal_one_device(apart, case):
    require_equal(apart[case], "mirrored")


@pytest.mark.parametrize("topology", ["copied", "workers"])
@pytest.mark.parametrize("case", all_but(["cdan_e", "co_tuning", "mixout"], SOME))
def test_two_workers_and_a_copying_strategy_equal_one_device(apart, case, topology):
    require_equal(apart[case], topology)


def test_every_method_and_regularizer_is_compared():
    compared = {case.partition(",")[0] for case in ALL}
    assert compared == {*WITH_A_LOSS, *REGULARIZERS.names()}


class TwoReplicas:
    """A context whose collective forgets shapes, as TensorFlow's on several devices do."""

    num_replicas_in_sync, replica_id_in_sync_group = 2, 1

    def all_gather(self, value, axis):
        return tf.raw_ops.PlaceholderWithDefault(input=tf.concat([value, value], axis), shape=None)


@pytest.mark.parametrize(("rows", "gathered"), [(4, 8), (None, None)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_gathered_rows_have_the_shape_that_is_known(monkeypatch, rows, gathered, dtype):
    monkeypatch.setattr(tf.distribute, "get_replica_context", TwoReplicas)
    shapes = []

    @tf.function(input_signature=[tf.TensorSpec((rows, 3), dtype)])
    def gather(x):
        shapes.append(replicas.gather_rows(x).shape.as_list())

    gather.get_concrete_function()
    assert shapes == [[gathered, 3]]


@pytest.mark.parametrize("name", WITH_A_LOSS)
def test_the_number_of_rows_need_not_be_known_before_the_run(name):
    rng = np.random.default_rng(0)
    features, logits = (rng.normal(size=(2, 12, d)).astype("float32") for d in (5, 3))
    parts = (*features, *logits, (np.arange(12) % 3).astype("int32"))
    method = make_method(name)
    method.build_heads(5, 3, seed=0)
    method.copied_features = lambda inputs: 0.9 * inputs  # of adda's second encoder

    def loss(source, target, source_logits, target_logits, labels):
        supplied = {
            "features": Pair(source, target), "logits": Pair(source_logits, target_logits), "labels": labels,
            "strong_logits": 1.1 * target_logits, "inputs": source, "strength": 1.0,
        }  # fmt: skip
        return method.loss(**{k: supplied[k] for k in method.needs})

    specs = [tf.TensorSpec((None, *part.shape[1:]), part.dtype) for part in parts]
    first = float(tf.function(loss)(*parts))
    if name == "pada":  # its average over steps has moved
        method.class_share.assign(tf.ones(3))
    assert float(tf.function(loss, input_signature=specs)(*parts)) == pytest.approx(first, abs=1e-5)

"""Which strategy is chosen, what is refused, and what a started process looks like."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from ends_at_once import AT_ONCE

from tlkeras.backend import (
    WorkerLostError,
    check_batch_size,
    environment,
    name_workers,
    start,
    strategies,
    watch_workers,
)
from tlkeras.backend.environment import Cluster, check_tensorflow, choose, named_cluster
from tlkeras.config import RuntimeConfig
from tlkeras.errors import UserError

ROOT = Path(__file__).parents[2]
WORKERS = ["127.0.0.1:1111", "127.0.0.1:2222"]


def tf_config(cluster, kind="worker", index=0):
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        (tf_config({"worker": WORKERS}, index=1), Cluster("tf_config", 2, 1)),
        (tf_config({"worker": WORKERS[:1]}), None),
        (tf_config({"chief": WORKERS[:1], "worker": WORKERS[1:]}, "chief"), Cluster("tf_config", 2, 0)),
        (tf_config({"chief": WORKERS[:1], "worker": WORKERS[1:]}, "worker"), Cluster("tf_config", 2, 1)),
        ({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"}, Cluster("slurm", 4, 3)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, None),  # the batch script itself, outside srun
        ({"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, None),
    ],
)
def test_workers_are_read_from_the_environment(environ, expected):
    assert named_cluster(environ=environ) == expected


@pytest.fixture
def no_flags(monkeypatch):
    """Forgets afterwards who was named."""
    monkeypatch.setattr(environment, "_from_flags", None)


def test_flags_come_before_slurm(no_flags):
    slurm = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"}
    name_workers([], None, slurm)
    assert named_cluster(slurm).source == "slurm"
    name_workers([*WORKERS, "[::1]:3333"], 2, slurm)
    assert named_cluster(slurm) == Cluster("flags", 3, 2, (*WORKERS, "[::1]:3333"))
    name_workers(WORKERS[:1], 0, {})
    assert named_cluster({}) is None


@pytest.mark.parametrize(
    ("workers", "index", "environ", "says"),
    [
        (WORKERS, 2, {}, r"0\.\.1\. Received: .*worker_index=2"),
        (WORKERS, -1, {}, r"0\.\.1\. Received: .*worker_index=-1"),
        (WORKERS, None, {}, "given together.*worker_index=None"),
        ([], 0, {}, "given together.*workers=None, worker_index=0"),
        (["a:1", "b"], 0, {}, "host:port.*Received: 'b'"),
        (["a:1", "http://b:2"], 0, {}, "Received: 'http://b:2'"),
        (["a:1", "b:70000"], 0, {}, "Received: 'b:70000'"),
        (["a:1", "b:0"], 0, {}, "Received: 'b:0'"),
        (["a:1", "a:1"], 0, {}, "address of its own"),
        (WORKERS, 0, tf_config({"worker": WORKERS}), "given twice: unset TF_CONFIG"),
    ],
)
def test_workers_that_cannot_be_are_refused(workers, index, environ, says, no_flags):
    with pytest.raises(UserError, match=says) as error:
        name_workers(workers, index, environ)
    assert "\n" not in str(error.value) and environment._from_flags is None


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"TF_CONFIG": "{worker"}, "Received: TF_CONFIG='{worker'"),
        (tf_config({"worker": WORKERS, "ps": WORKERS}), "Received: TF_CONFIG with ps"),
        (tf_config({"worker": WORKERS}, index=2), "task worker:2"),
    ],
)
def test_clusters_that_cannot_be_are_refused(environ, says):
    with pytest.raises(UserError, match=says):
        named_cluster(environ=environ)


def test_choice_of_the_strategy():
    pair = Cluster("tf_config", 2, 0)
    assert choose(RuntimeConfig(), pair) == "multi_worker"
    assert choose(RuntimeConfig(), None) == "local"
    assert choose(RuntimeConfig(strategy="mirrored", devices=2), None) == "mirrored"
    for config, cluster, says in (
        (RuntimeConfig(strategy="multi_worker"), None, "a single process"),
        (RuntimeConfig(strategy="none"), pair, "Received: strategy=none"),
        (RuntimeConfig(strategy="none", devices=2), None, "devices=2, strategy=none"),
    ):
        with pytest.raises(UserError, match=says):
            choose(config, cluster)


def test_batches_must_divide_by_the_replicas():
    check_batch_size(32, 4)
    with pytest.raises(UserError, match=r"batch_size=30, replicas=4\. Allowed: e\.g\. 28 or 32"):
        check_batch_size(30, 4)
    with pytest.raises(UserError, match=r"Allowed: e\.g\. 4\."):
        check_batch_size(3, 4)


def test_missing_tensorflow_names_the_extras(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[tensorflow\]'.*\.\[gpu\].*\.\[tpu\]"):
        check_tensorflow()


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="Received: KERAS_BACKEND='jax'"):
        check_tensorflow()


class FakeResolver:
    """Stands for a TPU that answers, or fails with `error`."""

    error = None

    def __init__(self, tpu):
        self.tpu = tpu

    def master(self):
        return self.tpu


@pytest.fixture
def fake_tpu(monkeypatch):
    import tensorflow as tf

    calls = []

    def initialize(resolver):
        calls.append(resolver.tpu)
        if FakeResolver.error is not None:
            raise FakeResolver.error

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", FakeResolver)
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", initialize)
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda resolver: SimpleNamespace(resolver=resolver))
    monkeypatch.setattr(FakeResolver, "error", None)
    return calls


def test_auto_probes_a_tpu_only_where_libtpu_is_installed(fake_tpu, monkeypatch):
    monkeypatch.setattr(strategies, "has_libtpu", lambda: False)
    assert strategies.make_tpu(required=False) is None
    assert fake_tpu == []
    monkeypatch.setattr(strategies, "has_libtpu", lambda: True)
    assert strategies.make_tpu(required=False).resolver.tpu == "local"
    assert fake_tpu == ["local"]


def test_auto_goes_on_without_a_tpu_that_does_not_answer(fake_tpu, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(strategies, "has_libtpu", lambda: True)
    FakeResolver.error = tf.errors.NotFoundError(None, None, "No TPU devices found")
    assert strategies.make_tpu(required=False) is None
    with pytest.raises(UserError, match=r"No TPU answers.*No TPU devices found.*Received: strategy=tpu"):
        strategies.make_tpu(required=True)


def test_a_build_without_tpu_support_gets_advice(fake_tpu, monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(strategies, "has_libtpu", lambda: True)
    message = "No OpKernel was registered to support Op 'ConfigureDistributedTPU'\nmore\nlines"
    FakeResolver.error = tf.errors.InvalidArgumentError(None, None, message)
    with pytest.raises(UserError, match=r"\.\[tpu\].*restart") as error:
        strategies.make_tpu(required=True)
    assert "\n" not in str(error.value)


def test_slurm_without_gpus_asks_for_none(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(strategies, "has_nvidia_driver", lambda: False)
    monkeypatch.setattr(
        tf.distribute, "MultiWorkerMirroredStrategy", lambda cluster_resolver: cluster_resolver
    )
    for key, value in {
        "SLURM_PROCID": "1",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "node[7-8]",
        "SLURM_STEP_TASKS_PER_NODE": "1(x2)",
    }.items():
        monkeypatch.setenv(key, value)
    resolver = strategies.make_multi_worker(named_cluster())
    assert resolver.cluster_spec().as_dict() == {"worker": ["node7:8888", "node8:8888"]}
    assert (resolver.task_type, resolver.task_id) == ("worker", 1)


def test_a_lost_worker_becomes_advice():
    import tensorflow as tf

    alone = SimpleNamespace(workers=1, worker_index=0)
    pair = SimpleNamespace(workers=2, worker_index=1)
    lost = tf.errors.UnavailableError(None, None, "Graph execution error:\n\nheartbeat timeout")
    with pytest.raises(tf.errors.UnavailableError), watch_workers(alone):
        raise lost
    advice = r"Worker 1 of 2.*same command.*heartbeat timeout"
    with pytest.raises(WorkerLostError, match=advice), watch_workers(pair):
        raise lost
    with pytest.raises(tf.errors.InternalError), watch_workers(pair):
        raise tf.errors.InternalError(None, None, "something else")


STARTED = """
import json, sys
from tlkeras import backend
from tlkeras.config import RuntimeConfig
from tlkeras.errors import UserError
assert "tensorflow" not in sys.modules
first = backend.start(RuntimeConfig(strategy="mirrored", devices=2, threads=2, precision="mixed_bfloat16"), 5)
import tensorflow as tf
drawn = float(tf.random.uniform(()))
again = backend.start(RuntimeConfig(strategy="mirrored", devices=2, threads=2), 5)
facts = {"drawn": [drawn, float(tf.random.uniform(()))], "same": first.strategy is again.strategy}
refused = []
for config in (RuntimeConfig(strategy="mirrored", devices=3), RuntimeConfig(threads=1)):
    try:
        backend.start(config, 5)
    except UserError as error:
        refused.append(str(error))
from tlkeras.backend.distributed_fit import DistributedFit
with first.scope():
    try:
        DistributedFit().compile("sgd", "mse", jit_compile=True)
    except UserError as error:
        refused.append(str(error))
print(json.dumps({**facts, "first": first.replicas, "chief": again.is_chief, "refused": refused,
                  "about": again.describe()}))
"""


def test_a_started_process():
    environ = {k: v for k, v in os.environ.items() if k not in ("TF_CONFIG", "TF_ENABLE_ONEDNN_OPTS")}
    done = subprocess.run(
        [sys.executable, "-c", AT_ONCE + STARTED],
        env=environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "cudart" not in done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert (facts["first"], facts["same"], facts["chief"]) == (2, True, True)
    assert facts["drawn"][0] == facts["drawn"][1]
    about = facts["about"]
    assert (about["strategy"], about["devices"], about["precision"]) == ("mirrored", {"CPU": 2}, "float32")
    assert (about["strategy_asked"], about["strategy_class"]) == ("mirrored", "MirroredStrategy")
    assert (about["deterministic"], about["threads"], about["seed"], about["onednn"]) == (True, 2, 5, "0")
    assert [said.split("Received: ")[1] for said in facts["refused"]] == [
        "devices=3",
        "threads=1",
        "jit_compile=True, strategy=MirroredStrategy",
    ]


@pytest.mark.parametrize("devices", [None, 1])
def test_one_device_mirrors_nothing_and_says_so(devices, monkeypatch):
    """One device needs no strategy: the default one runs, and the manifest names it."""
    import tensorflow as tf

    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    runtime = start(RuntimeConfig(strategy="mirrored", devices=devices, deterministic=False), 0)
    about = runtime.describe()
    assert runtime.strategy is tf.distribute.get_strategy() and about["replicas"] == 1
    assert (about["strategy"], about["strategy_asked"]) == ("none", "mirrored")
    assert about["strategy_class"] == "_DefaultDistributionStrategy"


def test_the_choice_is_read_without_tensorflow():
    code = (
        "import sys, tlkeras.backend; assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)

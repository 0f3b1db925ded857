"""The start of TensorFlow for a run."""

import os
import platform
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from tlkeras import __version__, messages
from tlkeras.backend.environment import (
    Cluster,
    check_tensorflow,
    choose,
    cpu_count,
    has_nvidia_driver,
    installed_version,
    named_cluster,
)
from tlkeras.backend.importing import import_tensorflow
from tlkeras.backend.strategies import gpu_count, make_mirrored, make_multi_worker, make_tpu
from tlkeras.config import RuntimeConfig
from tlkeras.errors import UserError
from tlkeras.lazy import LateModule

keras = LateModule("keras")
tf = LateModule("tensorflow")
compat = LateModule("tlkeras.backend.compat")


@dataclass(frozen=True)
class Runtime:
    """The devices, the strategy and the workers of a run.

    Attributes:
        name: Name of the strategy in use: `none`, `mirrored`, `multi_worker` or `tpu`. `auto` becomes one of
            them, and `mirrored` with one device becomes `none`.
        strategy: tf.distribute strategy. For `none` it is TensorFlow's default strategy.
        config: Config of the runtime.
        seed: Seed of Python, NumPy and TensorFlow.
        workers: Number of worker processes.
        worker_index: Index of this process. 0 is the chief.
    """

    name: str
    strategy: Any = field(repr=False)
    config: RuntimeConfig
    seed: int
    workers: int = 1
    worker_index: int = 0

    @property
    def replicas(self) -> int:
        """Number of replicas that share a global batch."""
        return self.strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes the run directory."""
        return self.worker_index == 0

    def scope(self) -> AbstractContextManager:
        """Returns the context in which models, optimizers and metrics are made and compiled."""
        return self.strategy.scope()

    def distribute(self, dataset):
        """Returns the dataset of global batches with the options that training here needs.

        - Each worker gets its rows of every batch. TensorFlow's default, in which each worker gets some of
          the files, would change the batches.
        - The autotuner of tf.data is off, because the deletion of an old iterator waits for it, up to a
          minute (with TensorFlow 2.21: 16 s on one device, 100 s mirrored). `tf.data.AUTOTUNE` then means as
          many parallel calls as there are threads.
        """
        compat.stop_autotuner_of_devices()
        options = tf.data.Options()
        options.autotune.enabled = False
        if self.workers > 1:
            policy = tf.data.experimental.AutoShardPolicy
            options.experimental_distribute.auto_shard_policy = policy.DATA
        return dataset.with_options(options)

    def describe(self) -> dict[str, Any]:
        """Returns versions, devices, threads, strategy, precision and seed as JSON values.

        `strategy` is the strategy in use, `strategy_asked` that of the config, and `strategy_class` the
        class.
        """
        devices = [d.device_type for d in tf.config.list_logical_devices() if "SYSTEM" not in d.device_type]
        return {
            "strategy": self.name,
            "strategy_asked": self.config.strategy,
            "strategy_class": type(self.strategy).__name__,
            "replicas": self.replicas,
            "workers": self.workers,
            "worker_index": self.worker_index,
            "devices": {kind: devices.count(kind) for kind in sorted(set(devices))},
            "device_names": _device_names(),
            "cpu_count": cpu_count(),
            "threads": self.config.threads,
            "precision": keras.config.dtype_policy().name,
            "deterministic": compat.determinism_is_on(),
            "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
            "sync_batch_norm": self.config.sync_batch_norm,
            "seed": self.seed,
            "platform": platform.platform(),
            "python": platform.python_version(),
            "tlkeras": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": installed_version("numpy"),
        }


# The strategies of this process. A second one of the same kind would fail, or use its devices twice.
_strategies: dict[tuple, Any] = {}


def start(config: RuntimeConfig, seed: int, *, alone: bool = False) -> Runtime:
    """Sets up TensorFlow according to the config. It must be called before TensorFlow is used.

    A second call in the same process returns the same strategy with the new seed and precision.

    `strategy="auto"` uses the first of these that exists: several workers that `name_workers`, TF_CONFIG or
    SLURM name; a TPU if libtpu is installed and a TPU answers; all GPUs if there are several; one device.

    Args:
        config: Config of strategy, devices, threads, precision and determinism.
        seed: Seed of Python, NumPy and TensorFlow, at least 0.
        alone: Whether this process does not wait for the other workers, because it does not train. The
            workers are checked nevertheless.

    Raises:
        UserError: TensorFlow is missing, or the requested devices are not available.
    """
    check_tensorflow()
    cluster = named_cluster()
    chosen = choose(config, cluster)
    if alone and chosen == "multi_worker":
        chosen, cluster = "none", None
    _set_environment(chosen)
    import_tensorflow()
    _set_threads(config)
    name, strategy = _strategy(chosen, config, cluster)
    keras.utils.set_random_seed(seed)
    # On a TPU XLA is deterministic by itself, and refuses max pooling's gradient where this is asked for.
    if name != "tpu":
        set_determinism(config)
    keras.config.set_dtype_policy(config.precision)
    runtime = Runtime(name, strategy, config, seed)
    if cluster is not None:
        runtime = Runtime(name, strategy, config, seed, cluster.workers, cluster.index)
    messages.speak(runtime.is_chief)
    return runtime


def set_determinism(config: RuntimeConfig) -> None:
    """Makes TensorFlow's ops deterministic if the config requests it."""
    if config.deterministic:
        import_tensorflow().config.experimental.enable_op_determinism()


def _strategy(chosen: str, config: RuntimeConfig, cluster: Cluster | None) -> tuple[str, Any]:
    """Returns the name and the strategy, which may exist already in this process."""
    key = (chosen, config.devices, cluster)
    if key not in _strategies:
        _strategies[key] = _make_strategy(chosen, config, cluster)
    return _strategies[key]


def _make_strategy(chosen: str, config: RuntimeConfig, cluster: Cluster | None) -> tuple[str, Any]:
    if cluster is not None:
        return chosen, make_multi_worker(cluster)
    if chosen in ("tpu", "local"):
        strategy = make_tpu(required=chosen == "tpu")
        if strategy is not None:
            return "tpu", strategy
    if chosen == "mirrored" or (chosen == "local" and config.devices != 1 and gpu_count() > 1):
        strategy = make_mirrored(config.devices)
        mirrors = isinstance(strategy, tf.distribute.MirroredStrategy)
        return "mirrored" if mirrors else "none", strategy
    if config.devices is not None and config.devices > max(gpu_count(), 1):
        raise UserError(
            "strategy=auto does not divide a CPU into devices; strategy=mirrored does. Received: "
            f"strategy=auto, devices={config.devices}, {gpu_count()} GPUs"
        )
    return "none", tf.distribute.get_strategy()


def _set_environment(chosen: str) -> None:
    """Sets the environment variables that TensorFlow reads during its import."""
    if chosen == "mirrored" and not has_nvidia_driver() and "tensorflow" not in sys.modules:
        # oneDNN shares its state between the logical CPU devices of one process.
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def _set_threads(config: RuntimeConfig) -> None:
    if config.threads is None:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(config.threads)
        tf.config.threading.set_inter_op_parallelism_threads(max(2, config.threads))
    except RuntimeError as error:
        raise UserError(
            "TensorFlow has already started with another number of threads. Start a new process to "
            f"change it. Received: threads={config.threads}"
        ) from error


def _device_names() -> list[str]:
    return [
        tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in tf.config.list_physical_devices()
    ]

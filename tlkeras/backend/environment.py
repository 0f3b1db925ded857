"""The choice of devices and workers from the environment, before TensorFlow is imported."""

import glob
import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from tlkeras.config import RuntimeConfig
from tlkeras.errors import UserError, install


@dataclass(frozen=True)
class Cluster:
    """The workers of a run, and the place where they are named.

    Attributes:
        source: Place of the names: `tf_config`, `slurm` or `flags`.
        workers: Number of worker processes.
        index: Index of this process, from 0.
        addresses: Addresses `host:port` of the workers, for `flags` only.
    """

    source: str
    workers: int
    index: int
    addresses: tuple[str, ...] = ()


# These variables are set if there is a TPU. The first cell of the notebook cannot import this and repeats
# them.
TPU_NAMES = ("COLAB_TPU_ADDR", "TPU_NAME", "TPU_ACCELERATOR_TYPE", "TPU_WORKER_ID")
TPU_DEVICES = ("/dev/accel[0-9]*", "/dev/vfio/[0-9]*")  # v2 to v4; v5e and later
# Later drivers lack functions that TensorFlow's TPU build needs, and the process ends during the import. The
# import worked with 0.0.24, and failed with 0.0.32, 0.0.38, 0.0.43.2 and 0.0.52.
NEWEST_LIBTPU = (0, 0, 24)


def cpu_count() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_tpu(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the machine seems to have a TPU. TensorFlow's build may be unable to use it."""
    return any(map(environ.get, TPU_NAMES)) or any(map(glob.glob, TPU_DEVICES))


def check_tensorflow() -> None:
    """Raises `UserError` if TensorFlow is not installed, or if Keras is set to another backend."""
    if importlib.util.find_spec("tensorflow") is None:
        if has_tpu():
            raise UserError(
                f"Colab's TPU runtimes come without TensorFlow. Run {install('tpu')} and restart the "
                "session (Runtime > Restart)."
            )
        raise UserError(
            f"TensorFlow is not installed. Run {install('tensorflow')} (for a CPU; '.[gpu]' for CUDA, "
            "'.[tpu]' for a TPU)."
        )
    _check_libtpu()
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise UserError(
            "tlkeras trains on Keras' TensorFlow backend; unset KERAS_BACKEND or set it to tensorflow. "
            f"Received: KERAS_BACKEND={backend!r}"
        )


def _check_libtpu() -> None:
    """Raises `UserError` if TensorFlow's TPU build would silently end the process with this driver."""
    build, driver = installed_version("tensorflow-tpu"), installed_version("libtpu")
    if build is None or driver is None:
        return
    if tuple(map(int, re.findall(r"\d+", driver)[:3])) > NEWEST_LIBTPU and _loads_libtpu():
        raise UserError(
            f"tensorflow-tpu {build} crashes with this TPU driver. Run pip install 'libtpu<0.0.25', or "
            f"set TPU_LOAD_LIBRARY=0 to work without the TPU. Received: libtpu {driver}"
        )


def installed_version(package: str) -> str | None:
    """Returns the version of an installed package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _loads_libtpu() -> bool:
    return os.environ.get("TPU_LOAD_LIBRARY") != "0" and "tensorflow" not in sys.modules


def has_libtpu() -> bool:
    """Whether the driver library of the TPU build is installed."""
    return importlib.util.find_spec("libtpu") is not None


def check_batch_size(batch_size: int, replicas: int) -> None:
    """Refuses a global batch that cannot be divided into equal parts.

    Raises:
        UserError: `batch_size` is not a multiple of `replicas`.
    """
    if batch_size % replicas:
        below = batch_size // replicas * replicas
        near = [str(size) for size in (below, below + replicas) if size > 0]
        raise UserError(
            "data.batch_size counts the rows of all replicas and must be a multiple of their number. "
            f"Received: batch_size={batch_size}, replicas={replicas}. Allowed: e.g. {' or '.join(near)}."
        )


def check_single_process(what: str) -> None:
    """Raises `UserError` if several workers are named for a command of a single process.

    Args:
        what: Name of the command at the beginning of the message.
    """
    cluster = named_cluster()
    if cluster is not None:
        raise UserError(
            f"{what} works only in a single process. Received: {cluster.workers} workers, named by "
            f"{cluster.source}"
        )


# The cluster of `name_workers`. Like TF_CONFIG it is a property of the process and not of a run.
_from_flags: Cluster | None = None


def name_workers(
    workers: Sequence[str], worker_index: int | None, environ: Mapping[str, str] = os.environ
) -> None:
    """Names the workers of a training and the index of this process, instead of TF_CONFIG or SLURM.

    It is valid until the process ends. Without arguments nothing changes.

    Args:
        workers: Addresses `host:port` of all workers, in the same order in all processes. The first is the
            chief.
        worker_index: Index of this process in `workers`, from 0.
        environ: Environment variables.

    Raises:
        UserError: One argument is given without the other, an address or the index is not valid, or
            TF_CONFIG is set too.
    """
    global _from_flags
    if not workers and worker_index is None:
        return
    received = f"Received: workers={','.join(workers) or None}, worker_index={worker_index}"
    if not workers or worker_index is None:
        raise UserError(
            "workers and worker_index must be given together: the addresses of all workers, and the "
            f"index of this one. {received}"
        )
    wrong = [address for address in workers if not _is_address(address)]
    if wrong:
        raise UserError(f"A worker's address must be host:port, port in 1..65535. Received: {wrong[0]!r}")
    if len(set(workers)) < len(workers):
        raise UserError(f"Each worker must have an address of its own. {received}")
    if not 0 <= worker_index < len(workers):
        raise UserError(f"worker_index must lie in 0..{len(workers) - 1}. {received}")
    if environ.get("TF_CONFIG"):
        raise UserError(
            "The workers are given twice: unset TF_CONFIG, or leave out workers and worker_index. "
            f"{received}, TF_CONFIG={environ['TF_CONFIG'][:120]!r}"
        )
    several = len(workers) > 1
    _from_flags = Cluster("flags", len(workers), worker_index, tuple(workers)) if several else None


def _is_address(text: str) -> bool:
    found = re.fullmatch(r"([^\s:/,@\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", text)
    return found is not None and 0 < int(found[2]) < 65536


def named_cluster(environ: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the cluster from `name_workers`, TF_CONFIG or SLURM, in this order, or None for one process.

    Args:
        environ: Environment variables.

    Raises:
        UserError: The cluster is not well formed, or has parameter servers.
    """
    if _from_flags is not None:
        return _from_flags
    if environ.get("TF_CONFIG"):
        return _from_tf_config(environ["TF_CONFIG"])
    if "SLURM_PROCID" in environ and int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return Cluster("slurm", int(environ["SLURM_STEP_NUM_TASKS"]), int(environ["SLURM_PROCID"]))
    return None


def _from_tf_config(text: str) -> Cluster | None:
    try:
        config = json.loads(text)
        jobs = config.get("cluster", {})
        task = config.get("task", {})
        sizes = {name: len(addresses) for name, addresses in jobs.items()}
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise UserError(
            'TF_CONFIG must be JSON such as {"cluster": {"worker": ["host:port", ...]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: TF_CONFIG={text[:120]!r}'
        ) from error
    other = sorted(set(sizes) - {"chief", "worker"})
    if other:
        raise UserError(
            "Keras 3 trains only with equal workers. It has no parameter servers and no evaluators. "
            f"Received: TF_CONFIG with {', '.join(other)}. Allowed: chief, worker."
        )
    workers = sum(sizes.values())
    if workers > 1 and not (kind in sizes and 0 <= index < sizes[kind]):
        raise UserError(
            "TF_CONFIG's task must be one of its cluster's. "
            f"Received: task {kind}:{index}, cluster of {', '.join(f'{n} {k}' for k, n in sizes.items())}"
        )
    rank = index + (sizes.get("chief", 0) if kind == "worker" else 0)
    return Cluster("tf_config", workers, rank) if workers > 1 else None


def choose(config: RuntimeConfig, cluster: Cluster | None) -> str:
    """Returns `multi_worker`, `tpu`, `mirrored` or `none`, or `local` if the devices decide.

    Raises:
        UserError: The strategy needs workers and none are named, or workers are named for another strategy.
    """
    if config.strategy == "multi_worker" and cluster is None:
        raise UserError(
            "strategy=multi_worker needs several workers, named by TF_CONFIG, by SLURM (srun --ntasks) or by "
            "--workers and --worker_index; scripts/launch_multi_worker.sh starts some on this machine. "
            "Received: a single process"
        )
    if cluster is not None and config.strategy not in ("auto", "multi_worker"):
        raise UserError(
            f"{cluster.workers} workers are named by {cluster.source}; each of them would train alone and "
            "write the same run directory. Use strategy=auto or multi_worker, or start one process. "
            f"Received: strategy={config.strategy}"
        )
    chosen = "multi_worker" if cluster is not None else config.strategy
    if config.devices is not None and config.devices > 1 and chosen in ("none", "multi_worker", "tpu"):
        raise UserError(
            "runtime.devices can be set only with strategy=mirrored or auto. Received: "
            f"devices={config.devices}, strategy={chosen}"
        )
    return "local" if chosen == "auto" else chosen


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver seems to be installed. TensorFlow's build may be unable to use it."""
    return shutil.which("nvidia-smi") is not None or os.path.exists("/dev/nvidia0")

"""Construction of tf.distribute strategies."""

import os
from typing import Any

from tlkeras import messages
from tlkeras.backend.environment import Cluster, has_libtpu, has_nvidia_driver
from tlkeras.errors import UserError, install
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")

TPU_BUILD_ADVICE = (
    f"This TensorFlow has no TPU support: install the TPU build with {install('tpu')} "
    "(it replaces tensorflow by tensorflow-tpu) and restart the process or the Colab session."
)


def make_multi_worker(cluster: Cluster) -> Any:
    """Returns a `MultiWorkerMirroredStrategy`. It waits until every worker has called this."""
    resolvers = tf.distribute.cluster_resolver
    if cluster.source == "slurm":
        # The resolver counts tasks by their GPUs: without any, each task is given one that is not used.
        without = {"gpus_per_node": cluster.workers, "gpus_per_task": 1, "auto_set_gpu": False}
        gpus = {} if has_nvidia_driver() else without
        resolver = resolvers.SlurmClusterResolver(**gpus)
    elif cluster.source == "flags":
        resolver = resolvers.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
            task_type="worker",
            task_id=cluster.index,
            rpc_layer="grpc",
        )
    else:
        resolver = resolvers.TFConfigClusterResolver()
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    except RuntimeError as error:
        if "program startup" not in str(error):
            raise
        raise UserError(
            "Workers must be set up before TensorFlow computes anything. In a new process, call "
            f"tlkeras.backend.start (or run_experiment) first. Received: {error}"
        ) from error


def make_tpu(required: bool) -> Any | None:
    """Returns a `TPUStrategy` on the local TPU (or the one named by TPU_NAME), or None without one.

    Args:
        required: Whether having no TPU is an error.

    Raises:
        UserError: `required` is true and there is no TPU. The message says what is missing.
    """
    if not required and not has_libtpu():
        return None
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=_tpu_address())
        if resolver.master() not in ("", "local"):
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        advice = _tpu_advice(error)
        if required:
            raise UserError(f"{advice} Received: strategy=tpu") from error
        messages.warn(f"No TPU is used: {advice}")
        return None


def make_mirrored(devices: int | None) -> Any:
    """Returns a `MirroredStrategy` on all or the first GPUs, or on logical CPU devices if there are no GPUs.

    For one device it returns TensorFlow's default strategy, whose steps are several times faster for small
    networks.

    Raises:
        UserError: There are fewer GPUs than requested, or the CPU can no longer be divided.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        if devices is not None and devices > len(gpus):
            raise UserError(
                f"runtime.devices must be at most the number of GPUs. Received: devices={devices}, "
                f"{len(gpus)} GPUs"
            )
        names = [f"GPU:{k}" for k in range(devices or len(gpus))]
        return tf.distribute.MirroredStrategy(names) if len(names) > 1 else tf.distribute.get_strategy()
    if devices in (None, 1):
        return tf.distribute.get_strategy()
    _divide_cpu(devices)
    # Collectives on CPU serve one strategy per process; copying to one device serves any number.
    return tf.distribute.MirroredStrategy(
        [f"CPU:{k}" for k in range(devices)],
        cross_device_ops=tf.distribute.ReductionToOneDevice(),
    )


def gpu_count() -> int:
    """Returns the number of GPUs that TensorFlow has found."""
    return len(tf.config.list_physical_devices("GPU"))


def _divide_cpu(devices: int) -> None:
    """Makes this many logical CPU devices, or raises `UserError` if TensorFlow has others already."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    configured = tf.config.get_logical_device_configuration(cpu)
    if len(configured or [None]) >= devices:
        return
    try:
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
        )
    except RuntimeError as error:
        raise UserError(
            "TensorFlow has already set up its devices, with fewer CPU devices than needed. Start a new "
            f"process. Received: devices={devices}"
        ) from error


def _tpu_address() -> str:
    return os.environ.get("TPU_NAME") or "local"


def _tpu_advice(error: Exception) -> str:
    """Returns in one sentence why there is no TPU."""
    text = str(error)
    if "ConfigureDistributedTPU" in text and "OpKernel" in text:
        return TPU_BUILD_ADVICE
    if not has_libtpu():
        return f"No TPU driver (libtpu) is installed. {TPU_BUILD_ADVICE}"
    beside = ("Graph execution error", "Detected at", "<stack traces")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(beside)]
    first = lines[0].strip() if lines else type(error).__name__
    return (
        "No TPU answers. On Colab, choose Runtime > Change runtime type > TPU. On a TPU VM, end other "
        f"processes that use it. TensorFlow says: {first[:200]}"
    )

"""The accelerator of a notebook's machine, and advice if it cannot be used."""

import os
from collections.abc import Mapping

from tlkeras.backend.environment import has_libtpu, has_nvidia_driver, has_tpu
from tlkeras.errors import install
from tlkeras.lazy import LateModule

tf = LateModule("tensorflow")


def accelerator_report(strategy: str, replicas: int, environ: Mapping[str, str] = os.environ) -> str:
    """Returns the device of a run as text, and advice if the machine has a device that TensorFlow cannot use.

    Args:
        strategy: Name of the strategy of a started runtime.
        replicas: Number of its replicas.
        environ: Environment variables.
    """
    if strategy == "tpu":
        return f"Found a TPU with {replicas} cores."
    gpus = _gpus()
    if gpus:
        found = f"Found {gpus} GPU{'s' if gpus > 1 else ''}, {replicas} in use."
    else:
        found = "No accelerator was found. The notebook runs its small experiment on the CPU."
    return " ".join([found, *missing(gpus, environ)])


def missing(gpus: int, environ: Mapping[str, str] = os.environ) -> list[str]:
    """Returns why accelerators that the machine seems to have are not used, one sentence each.

    If TensorFlow itself is missing, `start` has already raised an error.
    """
    reasons = []
    if has_tpu(environ) and not has_libtpu():
        reasons.append(
            f"There is a TPU, but this TensorFlow is not the TPU build. Run {install('tpu')} and restart "
            "the session (Runtime > Restart)."
        )
    elif has_tpu(environ):
        reasons.append(
            "There is a TPU and its driver, but it does not answer, because another process or notebook "
            "uses it. End that process (Runtime > Manage sessions) and restart the session."
        )
    if has_nvidia_driver() and not gpus:
        reasons.append(f"There is an NVIDIA driver, but TensorFlow sees no GPU. Run {install('gpu')}.")
    return reasons


def _gpus() -> int:
    return len(tf.config.list_physical_devices("GPU"))

"""A test in a separate process, which a wrong driver may end, whether TensorFlow reaches the TPU."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

from tlkeras.backend.environment import has_libtpu

SECONDS = 180  # what a driver that waits for a machine's metadata may take; an answer comes within a minute
_QUESTION = (
    "from tlkeras.config import RuntimeConfig; from tlkeras.backend import start; "
    "print('cores:', start(RuntimeConfig(strategy='tpu'), seed=0).replicas)"
)


def unreached_tpu() -> str:
    """Returns why TensorFlow does not reach the TPU of this machine, or an empty string if it does.

    It tries TensorFlow's older interface to TPUs and then PJRT, which v5e, v5p and v6e need. It sets the
    environment variables of the interface that works, so it must be called before TensorFlow is imported.
    """
    first = _asked({})
    if not first:
        return ""
    second = _asked(_pjrt()) if has_libtpu() else first
    if not second:
        os.environ.update(_pjrt())
        return ""
    said = first if second == first else f"{first} By PJRT: {second}"
    return f"There is a TPU, and TensorFlow does not reach it. {said}"


def _pjrt() -> dict[str, str]:
    """Returns the environment of TensorFlow's PJRT interface, as Keras' examples for v5p and v6e set it."""
    spec = importlib.util.find_spec("libtpu")
    folder = Path(spec.origin).parent if spec and spec.origin else Path("/lib")
    return {
        "PJRT_DEVICE": "TPU",
        "NEXT_PLUGGABLE_DEVICE_USE_C_API": "true",
        "TF_PLUGGABLE_DEVICE_LIBRARY_PATH": str(folder / "libtpu.so"),
    }


def _asked(variables: dict[str, str]) -> str:
    """Returns why a process with these variables has no TPU, or an empty string if it has one."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", _QUESTION],
            env={**os.environ, **variables}, capture_output=True, text=True, timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"No answer within {SECONDS} s."
    if done.returncode == 0:
        return ""
    if done.returncode < 0:
        return f"The process was ended by {signal.Signals(-done.returncode).name}."
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    if not lines:
        return f"The process ended with code {done.returncode}."
    return lines[-1].partition("UserError: ")[2] or lines[-1]

"""The devices of this process that TensorFlow has found."""

import os

import tensorflow as tf

# The error that TensorFlow raises if a device has no memory left.
OutOfMemory = tf.errors.ResourceExhaustedError


def physical_devices() -> dict[str, int]:
    """Returns the number of devices of each kind, e.g. `{"CPU": 1, "GPU": 2}`."""
    kinds = [device.device_type for device in tf.config.list_physical_devices()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def accelerators() -> list[str]:
    """Returns the kinds of accelerators that this process uses: `GPU`, `TPU`, both or none."""
    return sorted({device.device_type for device in tf.config.list_logical_devices()} & {"GPU", "TPU"})


def what_rounds() -> dict:
    """Returns the facts on which the rounding of float32 depends here, as JSON values.

    Results differ between TF32 and float32, between oneDNN and Eigen, and between versions of TensorFlow.
    """
    return {
        "device": accelerators() or ["CPU"],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "tensorflow": tf.__version__,
    }

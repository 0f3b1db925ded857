"""The devices of this process, as TensorFlow knows them once it runs."""

import os

import tensorflow as tf

# What TensorFlow raises where a device has no memory left.
OutOfMemory = tf.errors.ResourceExhaustedError


def physical_devices() -> dict[str, int]:
    """Returns how many devices of each kind TensorFlow sees, e.g. `{"CPU": 1, "GPU": 2}`."""
    kinds = [device.device_type for device in tf.config.list_physical_devices()]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def accelerators() -> list[str]:
    """Returns the kinds of accelerators that this process computes on: of `GPU` and `TPU`, those it has."""
    return sorted({device.device_type for device in tf.config.list_logical_devices()} & {"GPU", "TPU"})


def what_rounds() -> dict:
    """Returns what decides how float32 is rounded here, ready for JSON.

    TF32 rounds otherwise than float32, oneDNN than Eigen, and one version of TensorFlow than the next.
    """
    return {
        "device": accelerators() or ["CPU"],
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default"),
        "tensorflow": tf.__version__,
    }

"""Two logical CPUs and a strategy over both, for scripts that compare them with one device.

Import it before anything that starts TensorFlow: devices cannot be added afterwards.
"""

import os

import ends_at_once  # noqa: F401

os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # oneDNN shares its state between logical CPUs
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

ONE_DEVICE = tf.distribute.get_strategy()
MIRRORED = tf.distribute.MirroredStrategy(
    ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
)


def furthest(first, second) -> float:
    """Returns the largest difference between two lists of arrays."""
    return max(float(abs(a - b).max()) for a, b in zip(first, second, strict=True))

"""Imports TensorFlow."""

import os
import sys


def import_tensorflow(onednn: str | None = None):
    """Returns the `tensorflow` module, its Python side quiet as well; see `tlkeras.quiet` for the rest.

    Args:
        onednn: What TF_ENABLE_ONEDNN_OPTS was in a run whose numbers are wanted again; a first import takes
            it over where the environment says nothing.
    """
    if onednn in ("0", "1") and "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", onednn)
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # it warns of retracing where each model is used once
    return tensorflow

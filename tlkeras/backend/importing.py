"""The import of TensorFlow."""

import os
import sys


def import_tensorflow(onednn: str | None = None):
    """Returns the `tensorflow` module, with its Python logger at level ERROR; see also `tlkeras.quiet`.

    Args:
        onednn: Value of TF_ENABLE_ONEDNN_OPTS in a run that is repeated, or None. The first import uses it
            unless the environment sets the variable.
    """
    if onednn in ("0", "1") and "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", onednn)
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # it warns about retracing for no reason
    return tensorflow

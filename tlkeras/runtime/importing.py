"""Imports TensorFlow without its chatter."""

import contextlib
import os
import sys
import tempfile


def import_tensorflow(onednn: str | None = None):
    """Returns the `tensorflow` module; what it prints while it is imported for the first time is dropped.

    Its libraries write to the process's stderr before their log level counts. An import that fails prints
    everything. Log lines below fatal are off afterwards unless TF_CPP_MIN_LOG_LEVEL says otherwise: errors
    that matter reach Python as exceptions.

    Args:
        onednn: What TF_ENABLE_ONEDNN_OPTS was in a run whose numbers are wanted again; a first import takes
            it over where the environment says nothing.
    """
    if onednn in ("0", "1") and "tensorflow" not in sys.modules:
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", onednn)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "tensorflow" not in sys.modules:
        with stderr_kept_back():
            import tensorflow
    import tensorflow

    tensorflow.get_logger().setLevel("ERROR")  # it warns of retracing where each model is used once
    return tensorflow


@contextlib.contextmanager
def stderr_kept_back():
    """Keeps what is written to file descriptor 2 back, and writes it only after an exception."""
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(saved, 2)
            held.seek(0)
            os.write(2, held.read())
            raise
        finally:
            os.dup2(saved, 2)
            os.close(saved)

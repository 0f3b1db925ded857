"""Suppresses the output of TensorFlow's import, whichever module imports it first."""

import contextlib
import importlib.machinery
import os
import sys
from typing import Any


class _FirstImport:
    """Finds TensorFlow as usual, and holds back what its libraries print while it is imported.

    The libraries write to the stderr of the process before their log level takes effect, so an environment
    variable is not enough. Modules of tlkeras, Keras and users all import TensorFlow by themselves, and an
    import hook covers all of these imports. If the import fails, everything is printed. It has no base class,
    because `importlib.abc` takes longer to import than the rest of tlkeras.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        spec: Any = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader  # the module keeps no trace of this hook
        # Only fatal log lines are printed unless the user sets another level: real errors are exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with stderr_kept_back():
            self._loader.exec_module(module)


def import_tensorflow_quietly() -> None:
    """Makes the first import of TensorFlow print nothing. Calling it again has no effect."""
    if "tensorflow" not in sys.modules and not any(isinstance(f, _FirstImport) for f in sys.meta_path):
        sys.meta_path.insert(0, _FirstImport())


@contextlib.contextmanager
def stderr_kept_back():
    """Holds back what is written to file descriptor 2, and writes it only after an exception."""
    import tempfile  # takes longer than the rest of `import tlkeras`

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

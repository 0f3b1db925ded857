"""TensorFlow is imported without its chatter, by whichever module needs it first."""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys


class _FirstImport(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds TensorFlow where it lies, and keeps back what its libraries print while it is imported.

    They write to the process's stderr before their log level counts, so a variable of the environment does
    not help. Every module imports TensorFlow where it needs it, and so do Keras and users: only here do all
    of these pass. An import that fails prints everything.
    """

    def find_spec(self, name, path=None, target=None):
        if name != "tensorflow":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader  # from now on as if we had not been here
        # Log lines below fatal are off unless the user wants them: errors that matter are exceptions.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with stderr_kept_back():
            self._loader.exec_module(module)


def import_tensorflow_quietly() -> None:
    """Lets the first import of TensorFlow, whoever does it, print nothing; again is as good as once."""
    if "tensorflow" not in sys.modules and not any(isinstance(f, _FirstImport) for f in sys.meta_path):
        sys.meta_path.insert(0, _FirstImport())


@contextlib.contextmanager
def stderr_kept_back():
    """Keeps what is written to file descriptor 2 back, and writes it only after an exception."""
    import tempfile  # costs more than all the rest of `import tlkeras`

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

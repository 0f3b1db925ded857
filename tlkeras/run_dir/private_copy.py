"""Private copies of the run directory for workers: only the chief writes to the run directory itself.

Every worker runs the same code in the same order, as collective operations require, and reads its own files
back. A copy is in a temporary folder and is removed when its process ends.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tlkeras.errors import UserError
from tlkeras.run_dir.run_dir import RunDir

_NOT_NEEDED = shutil.ignore_patterns(".*", "tensorboard", "export", "*.html")
_copies: set[Path] = set()


def own_run_dir(run_dir: RunDir, is_chief: bool) -> RunDir:
    """Returns the run directory to which this process writes. Nothing is copied yet.

    Args:
        run_dir: Run directory of the user.
        is_chief: Whether this process is the chief, which writes to `run_dir`. Other workers get an empty
            temporary folder. Runs inside a run, such as its twin, use the folder of the outer run.
    """
    if is_chief or any(run_dir.path.is_relative_to(copy) for copy in _copies):
        return run_dir
    folder = Path(tempfile.mkdtemp(prefix="tlkeras-worker-")).resolve()
    _copies.add(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return RunDir(folder / "run")


def copy_run(run_dir: RunDir, own: RunDir, records: int) -> None:
    """Copies the current state of a run. No process may write there during the copy.

    Args:
        run_dir: Run directory of the chief.
        own: Run directory that `own_run_dir` returned for it.
        records: Number of ledger events that the chief sees.

    Raises:
        UserError: This worker does not see the run that the chief continues.
    """
    if own.path == run_dir.path:
        return
    found = len(run_dir.ledger.records())
    if found != records:
        raise UserError(
            "All workers must see the same run directory to continue a run: put --workdir on a disk that "
            f"they share. Received: workdir={os.fspath(run_dir.path)!r} with {found} ledger events here, "
            f"{records} at the chief"
        )
    if run_dir.is_run:
        shutil.copytree(run_dir.path, own.path, ignore=_NOT_NEEDED, dirs_exist_ok=True)

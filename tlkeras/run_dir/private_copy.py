"""Of several worker processes only the chief writes the run directory; the others work in a copy.

So every worker runs the same code in the same order, as collective operations need, and reads back what
it wrote itself. A copy lies in a temporary folder and goes with its process.
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
    """Returns the run directory in which this process writes; nothing is copied yet.

    Args:
        run_dir: The run directory that was asked for.
        is_chief: Whether this process writes there; other workers get an empty temporary folder. Runs
            inside a run, such as its twin, lie in the folder of the outer run.
    """
    if is_chief or any(run_dir.path.is_relative_to(copy) for copy in _copies):
        return run_dir
    folder = Path(tempfile.mkdtemp(prefix="tlkeras-worker-")).resolve()
    _copies.add(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return RunDir(folder / "run")


def copy_run(run_dir: RunDir, own: RunDir, records: int) -> None:
    """Copies a run as it is now. Call it while nobody writes there.

    Args:
        run_dir: The run directory of the chief.
        own: What `own_run_dir` returned for it.
        records: Lines of the ledger, as the chief sees them.

    Raises:
        UserError: This worker does not see the run that the chief goes on with.
    """
    if own.path == run_dir.path:
        return
    found = len(run_dir.ledger.records())
    if found != records:
        raise UserError(
            "All workers must see the same run directory to go on with a run: put --workdir on a disk that "
            f"they share. Received: workdir={os.fspath(run_dir.path)!r} with {found} ledger events here, "
            f"{records} at the chief"
        )
    if run_dir.is_run:
        shutil.copytree(run_dir.path, own.path, ignore=_NOT_NEEDED, dirs_exist_ok=True)

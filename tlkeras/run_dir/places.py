"""Where a command that keeps one kind of work in a folder may write."""

import os
from pathlib import Path

from tlkeras.errors import UserError
from tlkeras.run_dir.atomic import check_writable, disk_errors

_LOCK = ".lock"


def check_place(folder: str | os.PathLike, file: str, what: str) -> bool:
    """Checks that a folder holds this kind of work or nothing, and can be written; touches nothing.

    Args:
        folder: The folder, which may be missing yet.
        file: Which file a folder with this kind of work has.
        what: What the work is called, e.g. `"sweep"`.

    Returns:
        Whether such work is there.

    Raises:
        UserError: Something else is there, or nothing can be written.
    """
    folder = Path(folder)
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"The workdir must be a folder. Received: workdir={str(folder)!r}")
        there = (folder / file).is_file()
        others = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in others if name != _LOCK]
    if others and not there:
        raise UserError(
            f"The workdir {folder} holds no {what}, and is not empty (it holds {others[0]!r}): choose "
            f"another --workdir. Received: workdir={str(folder)!r}"
        )
    check_writable(folder)
    return there

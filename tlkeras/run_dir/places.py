"""The output folder of a command, such as a sweep or a ranking, and the cache directory that runs share."""

import os
import re
from pathlib import Path
from typing import Any

from tlkeras.errors import UserError
from tlkeras.run_dir.atomic import check_writable, disk_errors
from tlkeras.run_dir.run_dir import config_differences
from tlkeras.run_dir.shared_work import FOLDER

_OF_PROCESSES = (".lock", FOLDER)


def cache_directory(given: str | os.PathLike | None = None) -> Path:
    """Returns the directory that runs share.

    Args:
        given: Value of `cache.dir`. None means `$XDG_CACHE_HOME/tlkeras`, by default `~/.cache/tlkeras`.
    """
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlkeras"


def check_place(folder: str | os.PathLike, file: str, what: str) -> bool:
    """Checks that a folder is writable, and that it is empty or holds this kind of work. Changes nothing.

    Args:
        folder: Output folder. It may not exist yet.
        file: Name of the file by which this kind of work is recognised.
        what: Name of the work in messages, e.g. `"sweep"`.

    Returns:
        Whether the folder holds such work.

    Raises:
        UserError: The folder holds something else, or it cannot be written to.
    """
    folder = Path(folder)
    if re.match(r"[a-z0-9]{2,}:/", str(folder)):
        raise UserError(
            f"A {what} needs a folder that all its processes share, and not an address. "
            f"Received: workdir={str(folder)!r}"
        )
    with disk_errors(folder):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"The workdir must be a folder. Received: workdir={str(folder)!r}")
        there = (folder / file).is_file()
        others = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in others if name not in _OF_PROCESSES]
    if others and not there:
        raise UserError(
            f"The workdir {folder} holds no {what} and is not empty (it holds {others[0]!r}): choose "
            f"another --workdir. Received: workdir={str(folder)!r}"
        )
    check_writable(folder)
    return there


def refuse_differences(folder: Path, what: str, received: dict[str, Any], there: dict[str, Any]) -> None:
    """Raises `UserError` if the settings of the user are not those of the work in a folder.

    Args:
        folder: Output folder.
        what: Name of the work in the message, e.g. `"sweep"`.
        received: Settings of the user, as JSON values.
        there: Settings of the work in the folder, as JSON values.
    """
    differences = config_differences(received, there)
    if differences:
        shown = "; ".join(differences[:8]) + ("; ..." if len(differences) > 8 else "")
        raise UserError(
            f"The workdir {folder} holds another {what}: choose another --workdir. Differences: {shown}"
        )

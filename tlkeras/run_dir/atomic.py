"""Files that are either absent or whole, and disk errors said in words."""

import contextlib
import errno
import json
import math
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlkeras.errors import CannotWriteHere, RunError

_LEFTOVER = re.compile(r"^\..+\.[0-9a-f]{8}\.tmp(\.|$)")


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; what is written there takes its place at the end.

    The temporary file (or folder) is flushed to the disk and then renamed, so that a reader, and a
    process killed at any moment, finds the old content or the new, never a part. It keeps the suffix
    of `path`, which some writers go by. If the body raises, the old content stays.

    Args:
        path: The file or folder to make or replace. Missing parent folders are made.

    Raises:
        RunError: The disk is full or broken.
        CannotWriteHere: A read-only disk, a missing permission.

    Example:
        >>> with replacing(run_dir.best_model) as temporary:
        ...     model.save(temporary)
    """
    path = Path(path)
    if _is_device(path):
        with disk_errors(path):
            yield path
        return
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    make_folder(path.parent)
    with disk_errors(path):
        try:
            yield temporary
            _flush(temporary)
            _put_in_place(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        _flush_folder(path.parent)


def _is_device(path: Path) -> bool:
    """Whether a path is no file that could be replaced: `/dev/stdout`, `/dev/null`, a named pipe."""
    with disk_errors(path):
        return path.parent == Path("/dev") or (path.exists() and not path.is_file() and not path.is_dir())


def make_folder(path: str | os.PathLike) -> None:
    """Makes a folder where it is missing, and those above it.

    Raises:
        RunError: The disk is full or broken.
        UserError: There can be no folder: no permission, a file in the way, a place like `/proc`.
    """
    path = Path(path)
    try:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(path, error) from error


def check_writable(folder: str | os.PathLike) -> None:
    """Checks that a folder, which may be missing yet, can be written into; leaves everything as it was.

    For commands that work for minutes before they write.

    Raises:
        RunError: The disk is full or broken.
        UserError: Nothing can be written there.
    """
    folder = Path(folder)
    with disk_errors(folder):
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        make_folder(folder)
        with disk_errors(folder), tempfile.TemporaryFile(dir=folder):
            pass
    finally:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a whole file or none. See `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a whole UTF-8 file or none; file names that are no valid UTF-8 are shown escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON. See `plain` for what becomes of NumPy values and NaN."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Returns `value` as strict JSON knows it: NumPy values as Python's, paths as text, NaN as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # NumPy arrays and scalars, without importing NumPy here
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turns what the operating system says about `path` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        described = _described(error, Path(path))
        if described is None:
            raise
        raise described from error


def remove_leftovers(folder: str | os.PathLike) -> int:
    """Removes the temporary files that killed processes left under `folder`; returns how many."""
    found = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent, name) for name in (*folders, *files) if _LEFTOVER.match(name)]
        folders[:] = [name for name in folders if not _LEFTOVER.match(name)]
    for path in found:
        _remove(path)
    return len(found)


def _described(error: OSError, path: Path) -> Exception | None:
    said = f"Received: {error.strerror or error}"
    # HDF5 raises OSError without a number, only its text tells.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return RunError(
            f"No space is left to write {path}. What was saved before is whole: free some space on "
            f"that disk and start the same command again to go on. {said}"
        )
    if error.errno == errno.EIO:
        return RunError(f"The disk failed at {path}: check it. {said}")
    if error.errno == errno.EROFS:
        return CannotWriteHere(f"{path} lies on a read-only disk: choose another place. {said}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotWriteHere(
            f"{path} is closed to this user: change its permissions or choose another place. {said}"
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return _no_place(path, error)
    return None


def _no_place(path: Path, error: OSError) -> CannotWriteHere:
    return CannotWriteHere(
        f"{path} cannot be a path here: choose another place. Received: {error.strerror or error}"
    )


def _flush(path: Path) -> None:
    if path.is_dir():
        for child in path.iterdir():
            _flush(child)
        _flush_folder(path)
    else:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    # Without this the rename itself may be lost in a power cut. Some network drives do not know it.
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(temporary: Path, path: Path) -> None:
    if not (temporary.is_dir() and path.is_dir()):
        os.replace(temporary, path)
        return
    # A folder that holds something cannot be replaced in one step: the old one steps aside first.
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    os.rename(path, aside)
    os.rename(temporary, path)
    _remove(aside)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

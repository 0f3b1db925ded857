"""Writes files so that they are either absent or complete, and explains disk errors."""

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
    """Yields a temporary path next to `path`. At the end, the content written there replaces `path`.

    The temporary file (or folder) is flushed to disk and then renamed. A reader therefore finds either the
    old content or the new content, even if the process is killed. The temporary path keeps the suffix of
    `path`, because some writers depend on it. If the body raises, the old content stays.

    Args:
        path: File or folder to create or replace. Missing parent folders are created.

    Raises:
        RunError: The disk is full or broken.
        CannotWriteHere: The disk is read-only, or a permission is missing.

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
            flush(temporary)
            _put_in_place(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
        _flush_folder(path.parent)


def _is_device(path: Path) -> bool:
    """Whether a path cannot be replaced by renaming, such as `/dev/stdout`, `/dev/null` or a named pipe."""
    with disk_errors(path):
        return path.parent == Path("/dev") or (path.exists() and not path.is_file() and not path.is_dir())


def make_folder(path: str | os.PathLike) -> None:
    """Creates a folder and its parent folders if they are missing.

    Raises:
        RunError: The disk is full or broken.
        UserError: The folder cannot be created: a missing permission, a file of that name, or a place like
            `/proc`.
    """
    path = Path(path)
    try:
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_place(path, error) from error


def check_writable(folder: str | os.PathLike) -> None:
    """Checks that a folder can be written to, without leaving a trace. The folder may not exist yet.

    Commands that work for minutes call it before they start.

    Raises:
        RunError: The disk is full or broken.
        UserError: The folder cannot be written to.
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
    """Writes a complete file, or leaves the old one. See `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a UTF-8 file as `write_bytes` does. File names that are not valid UTF-8 appear escaped."""
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` as indented JSON. `plain` describes the conversion of NumPy values and NaN."""
    write_text(path, json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Returns `value` as strict JSON: NumPy values become Python's, paths become text, NaN becomes None."""
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
    """Turns an operating-system error about `path` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        described = _described(error, Path(path))
        if described is None:
            raise
        raise described from error


def remove_leftovers(folder: str | os.PathLike) -> int:
    """Removes temporary files that killed processes left under `folder`, and returns their number."""
    found = []
    for parent, folders, files in os.walk(folder):
        found += [Path(parent, name) for name in (*folders, *files) if _LEFTOVER.match(name)]
        folders[:] = [name for name in folders if not _LEFTOVER.match(name)]
    for path in found:
        _remove(path)
    return len(found)


def _described(error: OSError, path: Path) -> Exception | None:
    said = f"Received: {error.strerror or error}"
    place = f"Received: {path} ({error.strerror or error})"
    # HDF5 raises OSError without a number, so only the text identifies the error.
    if error.errno in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
        return RunError(
            f"No space is left to write {path}. All earlier files are complete: free some space on "
            f"that disk and start the same command again to continue. {said}"
        )
    if error.errno == errno.EIO:
        return RunError(f"The disk failed at {path}: check it. {said}")
    if error.errno == errno.EROFS:
        return CannotWriteHere(f"This place is on a read-only disk: choose another place. {place}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return CannotWriteHere(
            f"You have no permission for this place: change its permissions or choose another place. {place}"
        )
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP):
        return _no_place(path, error)
    return None


def _no_place(path: Path, error: OSError) -> CannotWriteHere:
    return CannotWriteHere(
        f"This cannot be a path here: choose another place. Received: {path} ({error.strerror or error})"
    )


def flush(path: Path) -> None:
    """Flushes a file, or a folder with its files, to disk."""
    if path.is_dir():
        for child in path.iterdir():
            flush(child)
        _flush_folder(path)
    else:
        with open(path, "rb+") as file:
            os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    # Without this, a power cut may undo the rename. Some network drives do not support it.
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
    # A folder with content cannot be replaced in one step, so the old one is renamed first.
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

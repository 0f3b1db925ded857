"""A lock that lets only one process at a time work in a run directory."""

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path

from tlkeras import messages
from tlkeras.errors import UserError
from tlkeras.run_dir.atomic import disk_errors, make_folder

_NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


class InUse(UserError):
    """A folder in which another process works."""


class RunLock:
    """An exclusive lock on a file. It is held until `release`, or until the process ends in any way.

    Args:
        path: Path of the lock file. The file is created if missing and is never removed; it means nothing
            without a lock on it.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._descriptor is not None

    def acquire(self) -> "RunLock":
        """Takes the lock.

        Raises:
            InUse: Another process, or another object in this process, holds the lock. Nothing was
                changed.
        """
        if self.held:
            return self
        while self._descriptor is None:
            descriptor = self._open()
            # Another process may have moved the folder away between opening and locking.
            if lies_at(descriptor, self.path):
                self._descriptor = descriptor
            else:
                os.close(descriptor)
        owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}
        with disk_errors(self.path):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)
        return self

    def release(self) -> None:
        """Releases the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "RunLock":
        return self.acquire()

    def __exit__(self, *unused) -> None:
        self.release()

    def _open(self) -> int:
        make_folder(self.path.parent)
        with disk_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_or_warn(descriptor)
        except BlockingIOError:
            owner = os.pread(descriptor, 4096, 0)
            os.close(descriptor)
            raise InUse(
                f"Another process works in {self.path.parent}{_described(owner)}: wait for it, stop it, "
                f"or choose another --workdir. Received: workdir={str(self.path.parent)!r}"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def _lock_or_warn(descriptor: int) -> None:
    try:
        lock_file(descriptor)
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
        messages.warn("This file system has no locks: a second run in the same workdir cannot be prevented.")


def lock_file(descriptor: int, shared: bool = False) -> bool:
    """Locks an open file until it is closed, without waiting. Returns False on a system without such locks.

    Args:
        descriptor: Descriptor of the open file.
        shared: Whether other processes may hold the lock too if they also share it.

    Raises:
        BlockingIOError: Another process holds the lock.
        OSError: The file system has no locks, or it failed.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except PermissionError as error:  # raised by some network drives
        raise BlockingIOError(error.errno, "held by another process") from error
    return True


def lies_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the file at `path`. It may have been moved or removed."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _described(owner: bytes) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        facts = json.loads(owner)
        return f" (process {facts['pid']} on {facts['host']} since {facts['since']})"
    return ""

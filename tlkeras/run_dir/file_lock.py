"""A lock on shared work, such as an entry of a cache. Whoever holds it may remove its file."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tlkeras.run_dir.lock import lies_at, lock_file
from tlkeras.run_dir.waiting import Waiting


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True, shared: bool = False) -> Iterator[bool]:
    """Holds a lock on a file. The file is created if it is missing.

    The holder of a lock may remove its file. A process that waited for a removed file starts again.

    Args:
        path: Path of the lock file.
        wait: Whether to wait while another process holds the lock.
        shared: Whether other processes may hold the lock too if they also share it.

    Yields:
        Whether the lock is held. It is False if the file system has no locks or the file cannot be created.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is false.
    """
    descriptor = take_lock(path, wait=wait, shared=shared)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            os.close(descriptor)


def take_lock(path: Path, *, wait: bool = True, shared: bool = False) -> int | None:
    """Returns the open file of a lock that is held until the file is closed, or None without locks here.

    Args:
        path: Path of the lock file.
        wait: Whether to wait while another process holds the lock.
        shared: Whether other processes may hold the lock too if they also share it.

    Raises:
        BlockingIOError: Another process holds the lock, and `wait` is false.
    """
    waiting = Waiting(f"Another process uses the same part of {path.parent.parent}. This one waits for it.")
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            locked = lock_file(descriptor, shared)
        except BlockingIOError:
            os.close(descriptor)
            if not wait:
                raise
            waiting.until_next_look()
            continue
        except OSError:  # no locks on this file system
            locked = False
        if locked and lies_at(descriptor, path):
            return descriptor
        os.close(descriptor)
        if not locked:
            return None

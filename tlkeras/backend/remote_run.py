"""Local copies of workdirs on Google Drive or gs://, which are copied back after each checkpoint.

Drive and gs:// have no locks and no atomic rename, and both are slow. The run therefore works on a local
disk, and a session that dies loses only the work after its last checkpoint. Both places also fail
temporarily now and then. A failed copy is tried again, and then postponed to the next checkpoint.

Only one process of a machine works with a place at a time. Sessions on other machines are not detected.
"""

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tlkeras import messages
from tlkeras.errors import RunError, UserError
from tlkeras.lazy import LateModule
from tlkeras.run_dir import RunLock, watch_checkpoints

tf = LateModule("tensorflow")

DRIVE = "/content/drive"  # the mount point in Colab
RETRY_AFTER_SECONDS = (1.0, 4.0)
_PROBE = ".tlkeras-probe"
_NOT_COPIED = re.compile(r"(^|/)\.")


def is_remote(workdir: str | os.PathLike | None) -> bool:
    """Whether a run cannot work directly in a workdir: an address, or a path on Drive in any spelling."""
    text = os.fspath(workdir) if isinstance(workdir, str | os.PathLike) else ""  # `RunDir` refuses others
    return "://" in text or _place(text).startswith(DRIVE + "/")


def _place(workdir: str) -> str:
    """Returns an address unchanged, and a path as an absolute path without links (to recognise Drive)."""
    return workdir if "://" in workdir else os.path.realpath(os.path.expanduser(workdir))


@contextlib.contextmanager
def mirrored(workdir: str | os.PathLike, *, fresh: bool = False) -> Iterator[Path]:
    """Yields a local copy of `workdir`. It is copied back while the run goes on and at the end.

    Args:
        workdir: Path on Drive, or address that begins with gs://.
        fresh: Whether to start over. The old run is kept under another name.

    Raises:
        UserError: Files cannot be written there, or another process works in this place.
        RunError: The result could not be copied there. It stays in the local folder.

    Example:
        >>> with mirrored("gs://bucket/runs/cats") as folder:
        ...     run_experiment(config, folder)
    """
    mirror = Mirror(os.fspath(workdir))
    with mirror.locked():  # before anything else, because the next lines empty the local folder
        mirror.check()
        mirror.begin(fresh)
        try:
            with watch_checkpoints(mirror.folder, mirror.push_or_warn):
                yield mirror.folder
        except BaseException:
            mirror.push_or_warn()
            raise
        else:
            mirror.push_at_the_end()


class Mirror:
    """A remote folder and its local copy.

    Args:
        remote: Address of the folder.
        local: Folder of the local copy. None uses a folder among the temporary files.
    """

    def __init__(self, remote: str, local: str | os.PathLike | None = None):
        self.remote = _place(remote).rstrip("/")
        name = Path(self.remote).name
        digest = hashlib.sha256(self.remote.encode()).hexdigest()[:12]
        here = Path(tempfile.gettempdir()) / f"tlkeras-mirror-{digest}" / name
        self.folder = Path(local) if local is not None else here
        self._sent: dict[str, tuple[int, int]] = {}
        # exists while the folder holds files that were not copied, so that no later start discards them
        self._unsent = self.folder.with_name(f".{self.folder.name}.unsent")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks the place on this machine. Raises `UserError` if another process holds the lock."""
        lock = RunLock(self.folder.with_name(f".{self.folder.name}.lock"))
        try:
            lock.acquire()
        except UserError as error:
            raise UserError(str(error).replace(str(lock.path.parent), self.remote)) from None
        with lock:
            yield

    def begin(self, fresh: bool) -> None:
        """Prepares the local folder: copies the remote one, unless the local one is ahead of it."""
        ahead = self._is_ahead()
        if ahead:
            self.push_at_the_end()
        if fresh:
            self.set_aside()
        if fresh or not ahead:
            self.pull()

    def check(self) -> None:
        """Raises `UserError` unless a file can be written, read and removed in the remote folder."""
        scheme = self.remote.partition("://")[0] if "://" in self.remote else ""
        if scheme not in ("", "gs"):
            raise UserError(
                "A workdir must be a local path, a path on Google Drive, or gs://BUCKET/FOLDER. "
                f"Received: workdir={self.remote!r}"
            )
        if self.remote.startswith(DRIVE) and not os.path.ismount(DRIVE):
            raise UserError(
                f"Google Drive is not mounted: run google.colab.drive.mount({DRIVE!r}) first. "
                f"Received: workdir={self.remote!r}"
            )
        try:
            files, probe = _gfile(), f"{self.remote}/{_PROBE}"
            files.makedirs(self.remote)
            with files.GFile(probe, "wb") as file:
                file.write(b"tlkeras")
            with files.GFile(probe, "rb") as file:
                whole = file.read() == b"tlkeras"
            files.remove(probe)
        except Exception as error:  # TensorFlow, Drive and Google's client raise different errors
            raise self._refused(_first_line(error)) from error
        if not whole:
            raise self._refused("a file that was written there had other content when it was read back")

    def pull(self) -> None:
        """Makes the local folder equal to the remote folder."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unsent.unlink(missing_ok=True)
        files = _gfile()
        for name in self._remote_files():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.copy(f"{self.remote}/{name}", str(path), overwrite=True)
            self._sent[name] = _state(path)

    def push(self) -> None:
        """Copies new and changed files. The ledger comes last, because it refers to the other files."""
        files = _gfile()
        found = {p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()}
        local = {name for name in found if not _NOT_COPIED.search(name)}
        for name in sorted(local, key=lambda name: (name.endswith("ledger.jsonl"), name)):
            with contextlib.suppress(FileNotFoundError):  # another thread is replacing it
                state = _state(self.folder / name)
                if self._sent.get(name) == state:
                    continue
                target = f"{self.remote}/{name}"
                files.makedirs(os.path.dirname(target))
                # an incomplete copy must not have the final name
                files.copy(str(self.folder / name), target + ".part", overwrite=True)
                files.rename(target + ".part", target, overwrite=True)
                self._sent[name] = state
        for name in set(self._sent) - local:
            with contextlib.suppress(Exception):  # it may be gone already, and an old file does no harm
                files.remove(f"{self.remote}/{name}")
            del self._sent[name]

    def push_or_warn(self) -> None:
        """Copies new files. Warns and continues if this fails repeatedly."""
        if error := self._failure_of_push():
            messages.warn(
                f"The run could not be copied to {self.remote} ({error}). It continues in {self.folder}; "
                "the next checkpoint tries to copy again."
            )

    def push_at_the_end(self) -> None:
        """Copies new files. Raises `RunError` if this fails repeatedly."""
        if error := self._failure_of_push():
            raise RunError(
                f"The run could not be copied to {self.remote}. All of it is in {self.folder}. Copy that "
                f"folder, or start the same command again on this machine: it copies first. Error: {error}"
            )

    def _failure_of_push(self) -> str | None:
        """Returns why the last of several attempts failed, or None if one succeeded."""
        failure = None
        for wait in (*RETRY_AFTER_SECONDS, 0.0):
            try:
                self.push()
                self._unsent.unlink(missing_ok=True)
                return None
            except Exception as error:  # see `check`
                failure = _first_line(error)
                time.sleep(wait)
        with contextlib.suppress(OSError):  # a full disk
            self._unsent.touch()
        return failure

    def _is_ahead(self) -> bool:
        """Whether the local folder holds the remote run and later work that was not copied."""
        if not (self._unsent.exists() and (self.folder / "config.json").is_file()):
            return False
        files, there = _gfile(), f"{self.remote}/ledger.jsonl"
        here = self.folder / "ledger.jsonl"
        ledger = here.read_text("utf-8") if here.exists() else ""
        if not files.exists(there):
            return not files.exists(f"{self.remote}/config.json")
        with files.GFile(there, "r") as file:
            return ledger.startswith(file.read())

    def set_aside(self) -> None:
        """Renames the remote folder to `NAME.old-1` (2, 3, ...) if it holds a run."""
        files, number = _gfile(), 1
        if not files.exists(f"{self.remote}/config.json"):
            return
        while files.exists(f"{self.remote}.old-{number}/config.json"):
            number += 1
        for name in self._remote_files():
            target = f"{self.remote}.old-{number}/{name}"
            files.makedirs(os.path.dirname(target))
            files.rename(f"{self.remote}/{name}", target, overwrite=True)

    def _remote_files(self) -> list[str]:
        names = []
        for folder, _, files in _gfile().walk(self.remote):
            inside = folder.rstrip("/")[len(self.remote) :].strip("/")
            names += [f"{inside}/{name}".lstrip("/") for name in files]
        return sorted(n for n in names if not _NOT_COPIED.search(n) and not n.endswith(".part"))

    def _refused(self, why: str) -> UserError:
        return UserError(
            "The workdir cannot hold a run: files there cannot be written, read and removed. "
            f"Received: workdir={self.remote!r} ({why})"
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:160]


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _gfile():
    """Returns TensorFlow's file functions, which take gs:// addresses and local paths."""
    return tf.io.gfile

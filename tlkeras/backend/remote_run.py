"""A run whose workdir lies on Google Drive or gs://: written locally, copied there after each checkpoint.

Neither place has locks or a rename that replaces a file at once, and both are slow. So the run works on a
local disk, and a session that dies loses what came after its last checkpoint, no more. Both also fail for a
while now and then: a copy that fails is tried again, and then left to the next checkpoint.

One process of a machine at a time works with a place; sessions on other machines are not noticed.
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
from tlkeras.run_dir import RunLock, watch_checkpoints

DRIVE = "/content/drive"  # where Colab mounts it
RETRY_AFTER_SECONDS = (1.0, 4.0)
_PROBE = ".tlkeras-probe"
_NOT_COPIED = re.compile(r"(^|/)\.")


def is_remote(workdir: str | os.PathLike | None) -> bool:
    """Whether a workdir lies where a run cannot work directly: at an address, or on Drive in any spelling."""
    text = os.fspath(workdir or "")
    return "://" in text or _place(text).startswith(DRIVE + "/")


def _place(workdir: str) -> str:
    """Returns an address as it is, a path absolute and without links: so `drive/x` in /content is Drive."""
    return workdir if "://" in workdir else os.path.realpath(os.path.expanduser(workdir))


@contextlib.contextmanager
def mirrored(workdir: str | os.PathLike, *, fresh: bool = False) -> Iterator[Path]:
    """Yields a local folder that holds what lies at `workdir`, and is copied there while the run goes on.

    Args:
        workdir: On Drive or gs://.
        fresh: Whether what lies there is kept under another name and not gone on with.

    Raises:
        UserError: Files cannot be written there, or another process works with this place.
        RunError: What the run came to could not be copied there; it stays in the local folder.

    Example:
        >>> with mirrored("gs://bucket/runs/cats") as folder:
        ...     run_experiment(config, folder)
    """
    mirror = Mirror(os.fspath(workdir))
    with mirror.locked():  # first of all, as what follows empties the local folder
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
        local: Where the copy lies; None is a place of its own among the temporary files.
    """

    def __init__(self, remote: str, local: str | os.PathLike | None = None):
        self.remote = _place(remote).rstrip("/")
        name = Path(self.remote).name
        digest = hashlib.sha256(self.remote.encode()).hexdigest()[:12]
        here = Path(tempfile.gettempdir()) / f"tlkeras-mirror-{digest}" / name
        self.folder = Path(local) if local is not None else here
        self._sent: dict[str, tuple[int, int]] = {}
        # beside the folder while it holds what could not be copied, so that no later start throws that away
        self._unsent = self.folder.with_name(f".{self.folder.name}.unsent")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other processes of this machine away. Raises `UserError` where one is there already."""
        lock = RunLock(self.folder.with_name(f".{self.folder.name}.lock"))
        try:
            lock.acquire()
        except UserError as error:
            raise UserError(str(error).replace(str(lock.path.parent), self.remote)) from None
        with lock:
            yield

    def begin(self, fresh: bool) -> None:
        """Makes the local folder what a run goes on from: as at the remote, or as it is where it is ahead."""
        ahead = self._is_ahead()
        if ahead:
            self.push_at_the_end()
        if fresh:
            self.set_aside()
        if fresh or not ahead:
            self.pull()

    def check(self) -> None:
        """Raises `UserError` where no file can be written, read and removed at the remote."""
        scheme = self.remote.partition("://")[0] if "://" in self.remote else ""
        if scheme not in ("", "gs"):
            raise UserError(
                f"A workdir is a local path, on Drive, or gs://. Received: workdir={self.remote!r}"
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
        except Exception as error:  # TensorFlow, Drive and Google's client each have errors of their own
            raise self._refused(_first_line(error)) from error
        if not whole:
            raise self._refused("a file written there comes back changed")

    def pull(self) -> None:
        """Makes the local folder what the remote one is."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self._unsent.unlink(missing_ok=True)
        files = _gfile()
        for name in self._remote_files():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            files.copy(f"{self.remote}/{name}", str(path), overwrite=True)
            self._sent[name] = _state(path)

    def push(self) -> None:
        """Copies what is new or changed; the ledger last, as it says what the other files mean."""
        files = _gfile()
        found = {p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*") if p.is_file()}
        local = {name for name in found if not _NOT_COPIED.search(name)}
        for name in sorted(local, key=lambda name: (name.endswith("ledger.jsonl"), name)):
            with contextlib.suppress(FileNotFoundError):  # replaced meanwhile by another thread
                state = _state(self.folder / name)
                if self._sent.get(name) == state:
                    continue
                target = f"{self.remote}/{name}"
                files.makedirs(os.path.dirname(target))
                # a copy that is cut short must not have the name of the whole
                files.copy(str(self.folder / name), target + ".part", overwrite=True)
                files.rename(target + ".part", target, overwrite=True)
                self._sent[name] = state
        for name in set(self._sent) - local:
            with contextlib.suppress(Exception):  # gone already; an old file does no harm
                files.remove(f"{self.remote}/{name}")
            del self._sent[name]

    def push_or_warn(self) -> None:
        """Copies what is new, and goes on where that fails more than once."""
        if error := self._failure_of_push():
            messages.warn(
                f"The run could not be copied to {self.remote} ({error}); it goes on in {self.folder}, and "
                "the next checkpoint tries again."
            )

    def push_at_the_end(self) -> None:
        """Copies what is new. Raises `RunError` where that fails more than once."""
        if error := self._failure_of_push():
            raise RunError(
                f"The run could not be copied to {self.remote}; all of it is in {self.folder}. Copy that "
                f"folder, or start the same command on this machine: it copies first. The error: {error}"
            )

    def _failure_of_push(self) -> str | None:
        """Returns why the last of several tries failed, None where one did not."""
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
        """Whether the local folder holds the remote's run and what could not be copied of it."""
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
        """Renames the remote folder to `NAME.old-1` (2, 3, ...) where it holds a run."""
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
    """Returns TensorFlow's file functions: they know gs:// and local paths alike."""
    import tensorflow as tf

    return tf.io.gfile

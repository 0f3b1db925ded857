"""Divides pieces of work among all processes that share a folder, on one machine or on several.

Each process has a file with its heartbeat. Each time that a process takes a piece, it creates the next
file `NAME.1`, `NAME.2`, ... of that piece, which only one process can do. Only its creator changes a file and
no file is removed, so that no two processes hold a piece, however late one of them reads.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.errors import RunError, UserError
from tlkeras.run_dir.atomic import disk_errors, make_folder, write_json
from tlkeras.run_dir.lock import InUse
from tlkeras.run_dir.waiting import Waiting

FOLDER = ".work"
BEAT = 5.0  # seconds between two heartbeats
LOST_AFTER = 60.0  # seconds without a heartbeat after which a process of another machine counts as dead
LOOK_EVERY = 1.0  # seconds between two looks at the pieces of other processes
WORKING, DONE, FAILED, GIVEN_BACK = "working", "done", "failed", "given back"


class SharedWork:
    """The share of this process in work that several processes divide. Joining and leaving is a `with` block.

    A piece of a process that died is free again: at once if the process ran on this machine, and after
    `LOST_AFTER` seconds without a heartbeat if it ran on another. The clocks of the machines do not matter.

    Args:
        folder: Folder that all processes share. The files are in its subfolder `.work`.
        at_each_beat: Function that is called at each heartbeat, in another thread.

    Example:
        >>> with SharedWork("runs/heads") as shared:
        ...     failures = shared.divide(["a", "b"], train, is_finished)
    """

    def __init__(self, folder: str | os.PathLike, at_each_beat: Callable[[], None] = lambda: None):
        self.folder = Path(folder) / FOLDER
        self.number = -1
        self._at_each_beat = at_each_beat
        self._facts = {"pid": os.getpid(), "host": socket.gethostname(), "machine": _machine(),
                       "started": _start_of(os.getpid()), "since": time.ctime()}  # fmt: skip
        self._beats, self._left, self._thread = 0, threading.Event(), threading.Thread()
        self._tries: dict[str, int] = {}  # the newest known file of each piece
        self._later: dict[str, float] = {}  # when a piece in use may be looked at again
        self._signs: dict[
            Path, tuple[Any, float]
        ] = {}  # the last heartbeat of each process, and when it came
        self._failed_before: set[Path] = set()

    def __enter__(self) -> "SharedWork":
        number = 0
        while not _create(self._process(number), {**self._facts, "beats": 0, "ended": False}):
            number += 1
        self.number = number
        names = {path.name.rpartition(".")[0] for path in self.folder.glob("claims/*")}
        newest = {self._claim(name, self._newest(name)) for name in names}
        for path in newest:
            claim = _read(path)
            if claim.get("state") == FAILED and self._is_over(claim.get("process"), path):
                self._failed_before.add(path)
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")
        self._thread.start()
        return self

    def __exit__(self, *unused) -> None:
        self._left.set()
        self._thread.join()
        self._write_heartbeat(ended=True)

    def take(self, name: str) -> "TakenPiece | None":
        """Takes a piece of work, or returns None if another process has it or it has failed.

        A piece that had failed before this process joined is free, unless the process in which it failed is
        still there.

        Args:
            name: Name of the piece, which can be the name of a file.
        """
        if self._later.get(name, 0.0) > time.monotonic():
            return None
        newest = self._newest(name)
        if newest and not self._is_free(self._claim(name, newest)):
            return None
        path = self._claim(name, newest + 1)
        content = {"process": self.number, "state": WORKING, "reason": ""}
        return TakenPiece(self, name, path, content) if _create(path, content) else None

    def divide(
        self, names: Iterable[str], work: Callable[[str], str | None], is_finished: Callable[[str], bool]
    ) -> dict[str, str]:
        """Does pieces of work that no other process does, until all pieces are finished or have failed.

        It waits for the pieces of other processes, and takes up those of processes that died. Several threads
        may call it with the same pieces.

        Args:
            names: Names of the pieces.
            work: Function that does a piece and returns why it failed, or nothing.
            is_finished: Function that looks in the folder whether a piece is finished.

        Returns:
            The reason of each failed piece, by name.
        """
        names = list(names)
        pending = names.copy()
        while (claim := self._next(pending, is_finished)) is not None:
            with claim:
                if reason := work(claim.name):
                    claim.end(FAILED, reason)
        return {name: reason for name, reason in self.failures(names).items() if not is_finished(name)}

    def failures(self, names: Iterable[str]) -> dict[str, str]:
        """Returns the reasons of the pieces that failed and are not tried again, by name."""
        return {name: reason for name in names if (reason := self._failure(name))}

    def once(self, path: Path, write: Callable[[Path], None]) -> None:
        """Lets one process write a file that is missing, while the others wait for it.

        Args:
            path: Path of the file.
            write: Function that writes the file at this path in one step.
        """
        self.divide([path.name], lambda _: write(path), lambda _: path.is_file())

    def taken(self, names: Iterable[str]) -> list[str]:
        """Returns the names of the pieces that other processes work on."""
        return [name for name in names if self._holder(name) is not None]

    def wait(self, names: Iterable[str], seconds: float) -> list[str]:
        """Waits until other processes work on none of these pieces. Returns those that they still work on.

        Args:
            names: Names of pieces.
            seconds: Longest time to wait.
        """
        until = time.monotonic() + seconds
        names = self.taken(names)
        waiting = Waiting(lambda: self._held(names), LOOK_EVERY)
        while names and time.monotonic() < until:
            waiting.until_next_look()
            names = self.taken(names)
        return names

    def _next(self, pending: list[str], is_finished: Callable[[str], bool]) -> "TakenPiece | None":
        """Takes the first piece that is free. Pieces that are finished or have failed leave the list."""
        waiting = Waiting(lambda: self._held(pending), LOOK_EVERY)
        while True:
            for name in pending.copy():
                over = is_finished(name) or bool(self._failure(name))
                claim = None if over else self.take(name)
                if claim is not None and not is_finished(name):
                    return claim
                if claim is not None:  # another process finished it after the first look
                    claim.end(DONE)
                if over or claim is not None:
                    pending.remove(name)
            if not pending:
                return None
            waiting.until_next_look()

    def _failure(self, name: str) -> str:
        """Returns why a piece failed. It is empty if the piece did not fail or may be tried again."""
        path = self._claim(name, self._newest(name))
        claim = _read(path)
        return claim["reason"] if claim.get("state") == FAILED and path not in self._failed_before else ""

    def _is_free(self, path: Path) -> bool:
        claim = _read(path)
        state = claim.get("state", WORKING)
        if state == WORKING:
            return self._is_over(claim.get("process"), path)
        return state != FAILED or path in self._failed_before

    def _holder(self, name: str) -> dict[str, Any] | None:
        """Returns the facts of the other process that works on a piece."""
        path = self._claim(name, self._newest(name))
        claim = _read(path)
        number = claim.get("process", self.number)
        if claim.get("state") != WORKING or number == self.number or self._is_over(number, path):
            return None
        return _read(self._process(number))

    def _is_over(self, number: int | None, claim: Path) -> bool:
        """Whether the process with this number ended or died. A process killed early wrote no number."""
        if number == self.number:
            return False
        path = claim if number is None else self._process(number)
        facts = _read(path)
        if facts.get("ended"):
            return True
        if facts.get("machine") == self._facts["machine"]:
            return _start_of(facts["pid"]) != facts["started"]
        beats, since = self._signs.get(path, (None, 0.0))
        if path not in self._signs or beats != facts.get("beats"):
            self._signs[path] = (facts.get("beats"), time.monotonic())
            return False
        return time.monotonic() - since > LOST_AFTER

    def _beat(self) -> None:
        while not self._left.wait(BEAT):
            self._beats += 1
            self._write_heartbeat()
            with contextlib.suppress(OSError, RunError, UserError):
                self._at_each_beat()

    def _write_heartbeat(self, ended: bool = False) -> None:
        # A full disk ends the work in the folder and not this thread.
        with contextlib.suppress(OSError, RunError, UserError):
            write_json(self._process(self.number), {**self._facts, "beats": self._beats, "ended": ended})

    def _held(self, names: Iterable[str]) -> str:
        """Returns who works on pieces, in a sentence, which is empty if nobody does."""
        holders = {name: facts for name in names if (facts := self._holder(name))}
        shown = [f"{name} (process {facts['pid']} on {facts['host']})" for name, facts in holders.items()]
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        return f"Waiting for other processes: {', '.join(shown[:4])}{more}" if shown else ""

    def _newest(self, name: str) -> int:
        number = self._tries.get(name, 0)
        while self._claim(name, number + 1).exists():
            number += 1
        self._tries[name] = number
        return number

    def _claim(self, name: str, number: int) -> Path:
        return self.folder / "claims" / f"{name}.{number}"

    def _process(self, number: int) -> Path:
        return self.folder / "processes" / f"{number}.json"


class TakenPiece:
    """A piece of work that this process has taken. It is done at the end of its `with` block.

    It needs no locks, and no two processes ever hold it, unlike a `LockedShard` of the feature cache.

    After an error or an interruption the piece is given back, so that another process can take it.

    Args:
        shared: The work that the piece belongs to.
        name: Name of the piece.
        path: File of the claim.
        content: Content of the file.
    """

    def __init__(self, shared: SharedWork, name: str, path: Path, content: dict[str, Any]):
        self.name, self._shared, self._path, self._content = name, shared, path, content

    def end(self, state: str, reason: str = "") -> None:
        """Writes how the work ended.

        Args:
            state: `DONE`, `FAILED` or `GIVEN_BACK`.
            reason: Reason of a failure.
        """
        self._content |= {"state": state, "reason": reason}
        write_json(self._path, self._content)

    def __enter__(self) -> "TakenPiece":
        return self

    def __exit__(self, kind, error, trace) -> bool:
        in_use = isinstance(error, InUse)
        if in_use:  # a process without a claim works there, such as `tlkeras train`
            messages.note(f"{self.name} is left for later: {error}")
            self._shared._later[self.name] = time.monotonic() + LOST_AFTER
        if self._content["state"] == WORKING:
            self.end(DONE if kind is None else GIVEN_BACK)
        return in_use


def _create(path: Path, content: dict[str, Any]) -> bool:
    """Creates a file unless it exists, and returns whether it was created. Only one process can do this."""
    make_folder(path.parent)
    with disk_errors(path):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(descriptor)
    return True


def _read(path: Path) -> dict[str, Any]:
    """Returns the content of a file, which is empty if it is missing or was not written completely."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads(path.read_text("utf-8"))
    return {}


def _machine() -> str:
    """Returns what tells this machine, since its last start, and this container from others.

    On Windows each process counts as a machine of its own, which others know by its heartbeat.
    """
    name = socket.gethostname()
    if os.name == "nt":
        return f"{name} {os.getpid()}"
    with contextlib.suppress(OSError):  # there is no /proc on macOS
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
        return f"{name} {boot} {os.readlink('/proc/self/ns/pid')}"
    return name


def _start_of(pid: int) -> str | None:
    """Returns when a process of this machine began, in the system's units, or None if it has ended.

    Another process may have the same number later, but not the same beginning.
    """
    if Path("/proc/self/stat").exists():
        with contextlib.suppress(OSError):
            state, *facts = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            return None if state in "ZX" else facts[18]
        return None
    if os.name != "nt":  # there, signal 0 would interrupt the process
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:  # it runs, and belongs to somebody else
            pass
    return "running"

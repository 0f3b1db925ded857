"""Real processes of the command line, cheap enough to be killed by the dozen.

One server process imports TensorFlow and forks a child per command. A child is a process of its own: it
can be killed, and what it leaves behind is only what lies on the disk. Run as a script this file is the
server.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

READY = "ready"

# by the server, so that a child begins within milliseconds
_IMPORTED_ONCE = (
    "tlkeras.cli.main",
    "tlkeras.cli.train",
    "tlkeras.evaluation.evaluate",
    "tlkeras.evaluation.evidence",
    "tlkeras.studies.experiment",
    "tlkeras.run",
    "tlkeras.runs.saved_run",
    "tlkeras.training.trainer",
)


@dataclass
class Ended:
    """A command that has ended: its exit code (negative: the signal that killed it) and what it printed."""

    code: int
    output: str

    @property
    def error(self) -> str:
        """The lines that the command line writes about an error."""
        return "\n".join(line for line in self.output.splitlines() if line.startswith("tlkeras: "))


class CommandServer:
    """Starts commands in forked processes.

    Args:
        folder: Where logs are kept.
        environment: Environment variables of all commands.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None):
        self.folder = folder
        self._count = 0
        self._server = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | (environment or {}),
        )
        assert self._server.stdout.readline().strip() == READY

    def close(self) -> None:
        """Ends the server."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(self, *words: str, **fault) -> "Command":
        """Starts a command. See `plan_fault` for what `fault` may be."""
        self._count += 1
        log = self.folder / f"command_{self._count:03d}.log"
        request = {"words": list(words), "log": str(log), "fault": fault}
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return Command(int(self._server.stdout.readline()), log, self._server.stdout)

    def run(self, *words: str, **fault) -> Ended:
        """Starts a command and waits for its end."""
        return self.start(*words, **fault).wait()


@dataclass
class Command:
    """A command that runs."""

    pid: int
    log: Path
    answers: object

    def wait_for(self, text: str, seconds: float = 600.0) -> None:
        """Waits until the command has printed a text; fails where it ends without."""
        end = time.monotonic() + seconds
        while text not in (printed := self.log.read_text(errors="replace")):
            if time.monotonic() > end or not self._runs():
                raise TimeoutError(f"{text!r} was not printed:\n{printed}")
            time.sleep(0.01)

    def _runs(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal; one that comes after the end is lost."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self) -> Ended:
        """Waits for the end."""
        code = int(self.answers.readline())
        return Ended(code, self.log.read_text(errors="replace"))


def plan_fault(
    within: str = "",
    at_event: int = 0,
    path: str = "",
    number: int = signal.SIGKILL,
    repeat: int = 1,
    reading: bool = False,
) -> None:
    """Makes this process send itself a signal just before it touches a file.

    Opening a file for writing, renaming and removing count.

    Args:
        within: Only files below this folder count.
        at_event: Which of these events it shall be, from 1; 0 is never.
        path: Only paths that hold this text count.
        number: The signal.
        repeat: How often it is sent.
        reading: Whether opening to read counts too.
    """
    seen = 0

    def on_event(name, arguments):
        nonlocal seen
        if name == "open":
            mode, flags = arguments[1], arguments[2]
            writes = (isinstance(mode, str) and set(mode) & set("wax+")) or flags & (os.O_WRONLY | os.O_RDWR)
            if not (writes or reading):
                return
        elif name not in ("os.rename", "os.remove"):
            return
        touched = " ".join(str(argument) for argument in arguments[:2])
        if within not in touched or path not in touched:
            return
        seen += 1
        if seen == at_event:
            for _ in range(repeat):
                os.kill(os.getpid(), number)

    if at_event:
        sys.addaudithook(on_event)


def _serve() -> None:
    # a shell starts what runs behind `&` with SIGINT ignored, and that is inherited
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in _IMPORTED_ONCE:
        importlib.import_module(name)

    print(READY, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        Path(request["log"]).touch()
        pid = os.fork()
        if pid == 0:
            _become_command(request)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _become_command(request: dict) -> None:
    log = os.open(request["log"], os.O_WRONLY | os.O_APPEND)
    for descriptor, target in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(descriptor, target)
    sys.stdout.reconfigure(line_buffering=True)
    plan_fault(**request["fault"])
    from tlkeras.cli.main import main

    code = 70
    try:
        code = main(request["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()

"""Everything that tlkeras prints for the user: results, notes, progress, warnings and errors.

Results are the answer to a command and are always printed. Notes, progress and warnings pass through
Python's logger `tlkeras`. Its level, or the flag `--verbosity` of each command, sets how much is printed.
If there are several workers, only the chief prints.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

logger = logging.getLogger("tlkeras")

# as in absl: -1 prints warnings only, 0 also notes, 1 everything
LEVELS = {-3: logging.CRITICAL, -2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}


class _Terminal(logging.Handler):
    """Writes notes to standard output and warnings to standard error."""

    def emit(self, record):
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"tlkeras: {' '.join(text.split())}"
        stream.write(text + getattr(record, "end", "\n"))
        stream.flush()


class _Speaker(logging.Filter):
    """Drops all messages of a process that must not print."""

    speaks = True

    def filter(self, record):
        return self.speaks


_speaker = _Speaker()
_waiting: list[str] | None = None  # notes that wait for the next message; None outside of commands
if not logger.handlers:
    logger.addHandler(_Terminal())
    logger.addFilter(_speaker)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # a root handler of the user would print everything twice


def set_verbosity(level: int) -> None:
    """Sets how much is printed.

    Args:
        level: Verbosity as in absl: -1 prints warnings only, 0 also notes, 1 everything. Larger and smaller
            values count as the nearest of -3 to 1.
    """
    logger.setLevel(LEVELS[max(min(level, 1), -3)])


@contextlib.contextmanager
def verbosity_restored() -> Iterator[None]:
    """Gives the process its verbosity back at the end, such as a notebook that called a command."""
    level = logger.level
    try:
        yield
    finally:
        logger.setLevel(level)


def speak(speaks: bool) -> None:
    """Sets whether this process prints at all. If there are several workers, only the chief does."""
    _speaker.speaks = speaks


def notes_appear() -> bool:
    """Whether notes and progress are printed."""
    return _speaker.speaks and logger.isEnabledFor(logging.INFO)


def result(text: object = "") -> None:
    """Prints the answer to a command."""
    _print_waiting()
    if _speaker.speaks:
        print(text, flush=True)


def note(text: str) -> None:
    """Prints what the program is doing."""
    _print_waiting()
    logger.info("%s", text)


def note_later(text: str) -> None:
    """Prints like `note`. In a command, the note waits for the next message, and an error takes its place."""
    if _waiting is None:
        note(text)
    else:
        _waiting.append(text)


@contextlib.contextmanager
def notes_may_wait() -> Iterator[None]:
    """Makes `note_later` wait. At the end, notes are printed, or dropped if there was an error."""
    global _waiting
    _waiting = []
    try:
        yield
        _print_waiting()
    finally:
        _waiting = None


def _print_waiting() -> None:
    while _waiting:
        logger.info("%s", _waiting.pop(0))


def progress(text: str, end: str = "\n") -> None:
    """Prints like `note`, with a line ending of choice. A carriage return lets the next line overwrite it."""
    _print_waiting()
    logger.info("%s", text, extra={"end": end})


def warn(text: str) -> None:
    """Prints a possible problem as one line on standard error."""
    _print_waiting()
    logger.warning("%s", text)


def error(text: str) -> None:
    """Prints as one line on standard error why a command has failed."""
    print(f"tlkeras: {' '.join(text.split())}", file=sys.stderr)


def as_text(value: Any, missing: str = "-") -> str:
    """Returns a value as text: grouped thousands, four significant digits, yes or no.

    Args:
        value: Value, or a list or dict of values.
        missing: Text for None and for an empty list or dict.
    """
    if value is None:
        return missing
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        # 1,024 would look like two entries
        return ", ".join(str(i) if type(i) is int else as_text(i, missing) for i in value) or missing
    if isinstance(value, dict):
        return ", ".join(f"{key}: {as_text(item, missing)}" for key, item in value.items()) or missing
    return str(value)

"""All that tlkeras says to its user: results, notes, progress, warnings and errors.

Results are what a command was asked for, and always appear. Notes, progress and warnings pass through
Python's logger `tlkeras`: its level, or the flag `--verbosity` of each command, says how much appears.
Of several workers only the chief speaks.
"""

import logging
import sys

logger = logging.getLogger("tlkeras")

# as in absl: -1 is warnings, 0 is notes too, 1 is everything
LEVELS = {-3: logging.CRITICAL, -2: logging.ERROR, -1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}


class _Terminal(logging.Handler):
    """Writes notes to standard output and warnings to standard error, as they are."""

    def emit(self, record):
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"tlkeras: {' '.join(text.split())}"
        stream.write(text + getattr(record, "end", "\n"))
        stream.flush()


class _Speaker(logging.Filter):
    """Lets this process be silent."""

    speaks = True

    def filter(self, record):
        return self.speaks


_speaker = _Speaker()
if not logger.handlers:
    logger.addHandler(_Terminal())
    logger.addFilter(_speaker)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # whoever set up logging for themselves would read everything twice


def set_verbosity(level: int) -> None:
    """Sets how much is said.

    Args:
        level: As absl has it: -1 warnings, 0 notes too, 1 everything; beyond that as the nearest.
    """
    logger.setLevel(LEVELS[max(min(level, 1), -3)])


def speak(speaks: bool) -> None:
    """Sets whether this process speaks at all; of several workers only the chief does."""
    _speaker.speaks = speaks


def notes_appear() -> bool:
    """Whether notes and progress appear."""
    return _speaker.speaks and logger.isEnabledFor(logging.INFO)


def result(text: str = "") -> None:
    """Says what the user asked for."""
    if _speaker.speaks:
        print(text, flush=True)


def note(text: str) -> None:
    """Says what happens, for people who watch."""
    logger.info("%s", text)


def progress(text: str, end: str = "\n") -> None:
    """As `note`, with another end of the line: a carriage return lets the next one overwrite it."""
    logger.info("%s", text, extra={"end": end})


def warn(text: str) -> None:
    """Says what may be wrong, in one line on standard error."""
    logger.warning("%s", text)


def error(text: str) -> None:
    """Says in one line on standard error why a command has failed."""
    print(f"tlkeras: {' '.join(text.split())}", file=sys.stderr)

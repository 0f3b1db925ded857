"""The errors that tlkeras raises: mistakes of the user, failed runs and interruptions."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a flag, a folder or a file that the user can correct.

    The command line prints the message as a single line on stderr and exits with code 2. The message says
    what was wrong, what was received, what is allowed and, if there is one, the nearest valid name.
    """


class CannotWriteHere(UserError):
    """A place that cannot be written to. The command line adds the flag that sets another place."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the name in `allowed` closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """Returns the error for an unknown name.

    Args:
        kind: Kind of the named thing, for the message.
        name: Given name.
        allowed: Allowed names.
    """
    allowed = list(allowed)
    shown = ", ".join(allowed) if len(allowed) <= 24 else ", ".join(allowed[:24]) + ", ..."
    return UserError(f"Unknown {kind} {name!r}.{nearest(name, allowed)} Allowed: {shown}.")


def install(extra: str) -> str:
    """Returns the command that installs an extra of tlkeras from a clone (it is on no package index)."""
    return f"pip install -e '.[{extra}]' in the clone of tlkeras"


class RunError(Exception):
    """A run that cannot continue, for example because the loss is not a number or a worker died.

    The command line prints the message as a single line and exits with code 1. The message says what
    happened, where, and what to do.
    """


class Interrupted(BaseException):
    """A run that a signal has stopped. Its saved state remains.

    Like `KeyboardInterrupt` it is not an `Exception`, so code that catches every `Exception` does not catch
    it.

    Args:
        signal: Number of the signal.
        message: Text for the user, with the way to continue.
    """

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal

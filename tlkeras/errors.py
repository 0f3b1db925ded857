"""What a user did wrong, said in one line."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a flag, a folder or a file that the user can mend.

    The command line prints its text as a single line on stderr and exits with code 2. The text says
    what was wrong, what was received, what is allowed and, where there is one, the nearest valid name.
    """


class CannotWriteHere(UserError):
    """A place that nothing can be written to; the command line adds which of its flags names another."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Returns `" Did you mean 'x'?"` for the name in `allowed` closest to `name`, or an empty string."""
    matches = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=0.5)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def unknown(kind: str, name: str, allowed: Iterable[str]) -> UserError:
    """Returns the error for a `name` that is not one of the `allowed` names of this `kind`."""
    allowed = list(allowed)
    shown = ", ".join(allowed) if len(allowed) <= 24 else ", ".join(allowed[:24]) + ", ..."
    return UserError(f"Unknown {kind} {name!r}.{nearest(name, allowed)} Allowed: {shown}.")


def install(extra: str) -> str:
    """Returns what installs an extra of tlkeras: it is on no package index, so from a clone."""
    return f"pip install -e '.[{extra}]' in the clone of tlkeras"


class RunError(Exception):
    """A run that cannot go on: a loss that is not a number, a full disk, a worker that died.

    The command line prints its text as a single line and exits with code 1. The text says what
    happened, where, and what to do.
    """


class Interrupted(BaseException):
    """A run that was asked to stop by a signal; what was saved stays.

    Like KeyboardInterrupt it is no `Exception`: code that goes on after any error must not go on after it.

    Args:
        signal: The signal's number.
        message: How to go on.
    """

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal

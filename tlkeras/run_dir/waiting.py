"""Waiting for what other processes do."""

import time
from collections.abc import Callable

from tlkeras import messages


class Waiting:
    """The wait of a process for others, which it says once.

    Args:
        say: What is said at the first wait: a text, which may be empty, or a function that returns one.
        seconds: Time between two looks at what the others have done.

    Example:
        >>> waiting = Waiting("Other processes write the file. This one waits for them.")
        >>> while not path.exists():
        ...     waiting.until_next_look()
    """

    def __init__(self, say: str | Callable[[], str], seconds: float = 0.2):
        self._say, self._seconds, self._said = say, seconds, False

    def until_next_look(self) -> None:
        """Waits until it is time to look again."""
        if not self._said and (text := self._say if isinstance(self._say, str) else self._say()):
            messages.note(text)
        self._said = True
        time.sleep(self._seconds)

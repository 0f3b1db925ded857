"""A time limit that holds wherever the program is."""

import contextlib
import signal
import sys

RING_AGAIN = 5.0  # seconds; long enough for a run to let go of its files


class TimeUp(BaseException):
    """The budget is spent; no `except Exception` on the way may take it for a failure of its own."""


@contextlib.contextmanager
def alarm(seconds: float):
    """Raises `TimeUp` in this thread once the seconds have passed, and again until the block is left.

    An exception that a signal raises inside a finalizer is lost: Python prints and drops it.
    """

    def ring(number, frame):
        raise TimeUp

    def lost(unraisable):
        if not isinstance(unraisable.exc_value, TimeUp):
            report(unraisable)

    report, sys.unraisablehook = sys.unraisablehook, lost
    old = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, RING_AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
        sys.unraisablehook = report

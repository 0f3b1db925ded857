"""A time limit that interrupts any code in the main thread."""

import contextlib
import signal
import sys

RING_AGAIN = 5.0  # seconds, enough for a run to release its files


class TimeUp(BaseException):
    """The time is over. It is not an `Exception`, so that code in between does not handle it as a failure."""


@contextlib.contextmanager
def alarm(seconds: float):
    """Raises `TimeUp` in this thread when the seconds have passed, and repeats it until the block ends.

    The repetition is needed because Python prints and drops an exception that a signal raises inside a
    finalizer.
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

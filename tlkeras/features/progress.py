"""The progress line of an extraction."""

import sys
import time

from tlkeras import messages


class ExtractionProgress:
    """Updates one line on a terminal. In a file it prints a line every half minute and at the end.

    The rate is that of all processes that compute the features.

    Args:
        name: Name of the features that are computed.
        rows: Number of rows.
        extractor: Name of the extractor, which the line shows.
        done: Number of rows that are there already.

    Attributes:
        own: Number of rows that this process has computed.
    """

    def __init__(self, name: str, rows: int, extractor: str, done: int = 0):
        self.name, self.rows, self.extractor = name, rows, extractor
        self.own = 0
        self._first = self._done = done
        self._terminal = sys.stdout.isatty()

    def __enter__(self) -> "ExtractionProgress":
        self._began = self._shown = time.monotonic()
        return self

    def advance(self, rows: int) -> None:
        """Adds rows that this process has computed."""
        self.own += rows
        self.at(self._done + rows)

    def at(self, done: int) -> None:
        """Sets the number of rows that are there, of all processes."""
        self._done = done
        now = time.monotonic()
        if now - self._shown > (0.2 if self._terminal else 30.0):
            self._shown = now
            self._show(now, "\r" if self._terminal else "", "" if self._terminal else "\n")

    def __exit__(self, kind, *unused) -> None:
        if kind is None:
            self._show(time.monotonic(), "\r" if self._terminal else "", "\n")

    def _show(self, now: float, start: str, end: str) -> None:
        rate = (self._done - self._first) / max(now - self._began, 1e-9)
        left = f", {(self.rows - self._done) / max(rate, 1e-9):.0f} s left" if self._done < self.rows else ""
        own = f", {self.own:,} of them by this process" if self.own < self._done - self._first else ""
        there = f"{self._done:,}/{self.rows:,} rows, {rate:,.0f} rows/s"
        text = f"{self.name}: {there} ({self.extractor}){own}{left}"
        messages.progress(f"{start}{text}   ", end)

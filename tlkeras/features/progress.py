"""The progress line of an extraction."""

import sys
import time

from tlkeras import messages


class ExtractionProgress:
    """Updates one line on a terminal. In a file it prints a line every half minute and at the end.

    Args:
        name: Name of the features that are computed.
        rows: Number of rows.
        extractor: Name of the extractor, which the last line shows.
    """

    def __init__(self, name: str, rows: int, extractor: str):
        self.name, self.rows, self.extractor = name, rows, extractor
        self._done = 0
        self._terminal = sys.stdout.isatty()

    def __enter__(self) -> "ExtractionProgress":
        self._began = self._shown = time.monotonic()
        return self

    def advance(self, rows: int) -> None:
        """Adds rows that are done."""
        self._done += rows
        now = time.monotonic()
        if now - self._shown > (0.2 if self._terminal else 30.0):
            self._shown = now
            self._show(now, "\r" if self._terminal else "", "" if self._terminal else "\n")

    def __exit__(self, kind, *unused) -> None:
        if kind is None:
            self._show(time.monotonic(), "\r" if self._terminal else "", "\n")

    def _show(self, now: float, start: str, end: str) -> None:
        rate = self._done / max(now - self._began, 1e-9)
        left = f", {(self.rows - self._done) / max(rate, 1e-9):.0f} s left" if self._done < self.rows else ""
        text = f"{self.name}: {self._done:,}/{self.rows:,} rows, {rate:,.0f} rows/s ({self.extractor}){left}"
        messages.progress(f"{start}{text}   ", end)

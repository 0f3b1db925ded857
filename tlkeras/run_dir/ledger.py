"""The ledger of a run: a file with one JSON object per line, which only grows."""

import json
import os
import time
from pathlib import Path
from typing import Any

from tlkeras import messages
from tlkeras.run_dir.atomic import disk_errors, make_folder, plain


class Ledger:
    """An append-only file of events. It stays readable if the process is killed while writing a line.

    Args:
        path: Path of the file, usually `RUN/ledger.jsonl`. It is created at the first event.

    Example:
        >>> run_dir.ledger.append(stage="head", event="finished", epochs=5, steps=250)
        >>> run_dir.ledger.last(stage="head")["event"]
        'finished'
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)

    def append(self, *, stage: str, event: str, **facts: Any) -> dict[str, Any]:
        """Appends one event, waits until it is on the disk, and returns it with its time."""
        record = plain({"stage": stage, "event": event, **facts, "time": round(time.time(), 3)})
        line = (json.dumps(record, allow_nan=False) + "\n").encode()
        make_folder(self.path.parent)
        with disk_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                _write_line(descriptor, line)
            finally:
                os.close(descriptor)
        return record

    def records(self) -> list[dict[str, Any]]:
        """Returns all events in order. An incomplete last line is ignored."""
        if not self.path.exists():
            return []
        with disk_errors(self.path):
            lines = self.path.read_bytes().split(b"\n")
        records = []
        for number, line in enumerate(lines[:-1], 1):
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if isinstance(record, dict):
                records.append(record)
            elif line.strip():
                messages.warn(f"Line {number} of {self.path} is damaged and is ignored.")
        return records

    def last(self, *, stage: str | None = None, event: str | None = None) -> dict[str, Any] | None:
        """Returns the newest event of this stage and kind, or None."""
        for record in reversed(self.records()):
            if stage in (None, record.get("stage")) and event in (None, record.get("event")):
                return record
        return None


def _write_line(descriptor: int, line: bytes) -> None:
    size = _whole_lines(descriptor)
    os.ftruncate(descriptor, size)
    try:
        written = 0
        while written < len(line):
            written += os.pwrite(descriptor, line[written:], size + written)
        os.fsync(descriptor)
    except OSError:  # full disk: the next event must not follow a partial line
        os.ftruncate(descriptor, size)
        raise


def _whole_lines(descriptor: int) -> int:
    """Returns the size of the file up to its last line feed."""
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 4096)
        feed = os.pread(descriptor, end - start, start).rfind(b"\n")
        if feed >= 0:
            return start + feed + 1
        end = start
    return 0

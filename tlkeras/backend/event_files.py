"""TensorBoard's event files: a writer, and the repair of the files of a resumed run."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkeras.run_dir import replacing


class EventWriter:
    """Writes an event file for TensorBoard. It must be closed at the end.

    Args:
        folder: Folder of the file, or None to write nothing.
        suffix: End of the file's name.
    """

    def __init__(self, folder: str | os.PathLike | None, suffix: str | None = None):
        self._writer = (
            tf.summary.create_noop_writer()
            if folder is None
            else tf.summary.create_file_writer(os.fspath(folder), filename_suffix=suffix)
        )

    @contextmanager
    def at(self, step: int) -> Iterator[None]:
        """Context in which all summaries have this step, also those of libraries that use TensorFlow."""
        with self._writer.as_default(step):
            yield

    def scalar(self, tag: str, value: float) -> None:
        """Writes a number. All writing methods must be called in the context `at`."""
        tf.summary.scalar(tag, value)

    def text(self, tag: str, value: str) -> None:
        """Writes Markdown."""
        tf.summary.text(tag, value)

    def images(self, tag: str, pixels: np.ndarray) -> None:
        """Writes pictures `(n, h, w, c)`, uint8 or float in 0..1."""
        tf.summary.image(tag, pixels, max_outputs=len(pixels))

    def histogram(self, tag: str, values: np.ndarray) -> None:
        """Writes a histogram of numbers of any shape."""
        tf.summary.histogram(tag, values)

    def flush(self) -> None:
        """Writes pending values."""
        self._writer.flush()

    def close(self) -> None:
        """Writes pending values and closes the file."""
        self._writer.close()


def keep_events(folder: str | os.PathLike, wanted: Callable[[int, str], bool]) -> None:
    """Rewrites the event files of a folder without unwanted values.

    A killed process may have written values of an epoch that is repeated now, or a truncated record, at which
    TensorBoard would stop reading.

    Args:
        folder: Folder of event files, which may be missing.
        wanted: Function from step and tag to whether a value is kept.
    """
    for path in sorted(Path(folder).glob("events.out.tfevents.*")):
        records, whole = _records(path)
        kept = [_kept(record, wanted) for record in records]
        if whole and kept == records:
            continue
        with replacing(path) as temporary, tf.io.TFRecordWriter(str(temporary)) as writer:
            for record in kept:
                if record is not None:
                    writer.write(record)


def _records(path: Path) -> tuple[list[bytes], bool]:
    """Returns the complete records of a file, and whether there is nothing else in it."""
    records = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            records.append(record.numpy())  # noqa: PERF401 (what was read before the damage is kept)
    except tf.errors.DataLossError:
        return records, False
    return records, True


def _kept(record: bytes, wanted: Callable[[int, str], bool]) -> bytes | None:
    event = tf.compat.v1.Event.FromString(record)
    values = [value for value in event.summary.value if wanted(event.step, value.tag)]
    if len(values) == len(event.summary.value):
        return record
    if not values:
        return None
    del event.summary.value[:]
    event.summary.value.extend(values)
    return event.SerializeToString()

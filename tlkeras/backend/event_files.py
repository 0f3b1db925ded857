"""TensorBoard's event files of a run that goes on: without what was given up, or half written."""

import os
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow.core.util import event_pb2

from tlkeras.run_dir import replacing


def keep_events(folder: str | os.PathLike, wanted: Callable[[int, str], bool]) -> None:
    """Rewrites the event files of a folder without the values that are not wanted.

    A process that was killed may have written the end of an epoch that is now done again, and a record
    cut short, at which TensorBoard would stop reading.

    Args:
        folder: Holds event files; it may be missing.
        wanted: Function from step and tag to whether a value stays.
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
    """Returns the whole records of a file, and whether it holds nothing else."""
    records = []
    try:
        for record in tf.data.TFRecordDataset(str(path)):
            records.append(record.numpy())  # noqa: PERF401 (what was read before the damage is kept)
    except tf.errors.DataLossError:
        return records, False
    return records, True


def _kept(record: bytes, wanted: Callable[[int, str], bool]) -> bytes | None:
    event = event_pb2.Event.FromString(record)
    values = [value for value in event.summary.value if wanted(event.step, value.tag)]
    if len(values) == len(event.summary.value):
        return record
    if not values:
        return None
    del event.summary.value[:]
    event.summary.value.extend(values)
    return event.SerializeToString()

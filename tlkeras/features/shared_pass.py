"""The pass over all rows of one entry, which any number of processes divide until the entry is whole."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tlkeras import messages
from tlkeras.data.feature_batches import Features
from tlkeras.errors import RunError
from tlkeras.features.arrays import open_entry
from tlkeras.features.progress import ExtractionProgress
from tlkeras.features.unfinished import LockedShard, UnfinishedEntry
from tlkeras.run_dir.waiting import Waiting

# Yields `(shard, first row, rows)` for consecutive rows of each shard, in the order of the shards. The
# function that it is given returns the shards, and may be called in another thread.
Outputs = Callable[[Callable[[], Iterator[LockedShard]]], Iterable[tuple[Any, int, np.ndarray]]]


class NotStored(Exception):
    """The rows cannot be stored. The text says why."""


@dataclass
class SharedPass:
    """The pass over the rows of an entry. Each process computes the shards that no other one computes.

    Args:
        entry: The entry, of whose facts `extractor` is shown beside the progress.
        title: Text before the progress.
        outputs: Function that computes the rows of shards.
        memory_mb: Memory budget for the features of the process, in MiB.

    Attributes:
        computed: Number of rows that this process has computed.
    """

    entry: UnfinishedEntry
    title: str
    outputs: Outputs
    memory_mb: int
    computed: int = field(default=0, init=False)

    def __post_init__(self):
        self.store, self.key, self.rows = self.entry.store, self.entry.key, self.entry.rows

    def stored(self) -> Features | None:
        """Returns the rows of a complete entry whose files have the right checksums, or None."""
        info = self.store.find(self.key)
        return self._opened() if info is not None and self.store.damaged(info) is None else None

    def complete(self) -> Features:
        """Computes what is missing together with other processes, and returns all rows.

        Raises:
            NotStored: The folder cannot be written to, the disk is full, or others remove the files.
        """
        if not self.store.usable():
            raise NotStored("it cannot be written")
        try:
            for _ in range(2):
                self._remove_damaged()
                own = self._write()
                # what other processes have written is verified
                if found := self._opened() if own == self.rows else self.stored():
                    self.computed += own or 0
                    return found
        except RunError as error:  # the disk is full
            self.store.clear([self.key])
            raise NotStored(str(error)) from None
        raise NotStored("files that are written there are removed by others")

    def _opened(self) -> Features | None:
        """Returns the rows of an entry, or None if another process has removed it."""
        info = self.store.find(self.key)
        try:
            return info and open_entry(self.store, info, self.memory_mb)
        except FileNotFoundError:
            return None

    def _remove_damaged(self) -> None:
        if self.store.find(self.key) is None:
            return
        with self.store.locked(self.key):
            info = self.store.find(self.key)
            damaged = info and self.store.damaged(info)
            if damaged:
                messages.note(f"{damaged} is damaged: its features are computed again.")
                self.store.remove(self.key)

    def _write(self) -> int | None:
        """Computes the missing shards of an entry until all are there. Returns the number of own rows.

        It returns None if somebody has removed the files meanwhile.
        """
        with self.store.shared(self.key) as locks:
            extractor = self.entry.facts["extractor"]
            try:
                self.entry.begin(locks)
                done = self.entry.done_rows() if self.store.find(self.key) is None else 0
                with ExtractionProgress(self.title, self.rows, extractor, done) as progress:
                    self._until_whole(progress)
                    return progress.own
            except FileNotFoundError:
                return None
            finally:
                self.entry.leave()

    def _until_whole(self, progress: ExtractionProgress) -> None:
        waiting = Waiting("Other processes compute the last shards. This one waits for them.")
        while self.store.find(self.key) is None:
            try:
                computed = self._compute_missing(progress)
                if self.entry.finish():
                    break
                progress.at(self.entry.done_rows())
            except FileNotFoundError:
                if self.store.find(self.key) is None:
                    raise
                break
            if not computed:
                waiting.until_next_look()
        progress.at(self.rows)

    def _compute_missing(self, progress: ExtractionProgress) -> int:
        """Computes all shards that are missing and that no other process computes. Returns their number."""
        first = self.entry.claim()
        if first is None:
            return 0
        claimed, stopped = [first], False

        def shards() -> Iterator[LockedShard]:  # may be called in a thread of tf.data
            yield first
            while not stopped and (shard := self.entry.claim()):
                claimed.append(shard)
                yield shard

        try:
            for shard, _, kept in self.outputs(shards):
                done = shard.append(kept)
                progress.advance(len(kept))
                if done:
                    progress.at(self.entry.done_rows())
        finally:
            stopped = True
            for shard in claimed:
                shard.close()
        return len(claimed)

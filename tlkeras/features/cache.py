"""The feature cache: outputs of frozen trunks, computed once and stored under a content key."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend.devices import accelerators
from tlkeras.config import CacheConfig
from tlkeras.data.feature_batches import Features
from tlkeras.errors import RunError, UserError
from tlkeras.features.arrays import ArrayFeatures, fits_memory, open_entry
from tlkeras.features.extractor_choice import Chosen, accepted, expected_seconds_per_row, named_by
from tlkeras.features.extractors import Trunk
from tlkeras.features.identity import Request, identity_of
from tlkeras.features.progress import ExtractionProgress
from tlkeras.features.store import FeatureStore, numpy_dtype
from tlkeras.maybe import MaybeNone

FORMAT = 1
# Slow disks read this many bytes per second. Files do not pay for a trunk that computes faster than that.
DISK_BYTES_PER_SECOND = 200e6


class NotWorthwhile(Exception):
    """It is better to compute the trunk in each epoch than to store its outputs. The text says why."""


@dataclass
class Opened:
    """The result of `FeatureCache.open`.

    Attributes:
        features: One `Features` per request, in the order of the requests.
        extractor: Name of the extractor that computed them.
        computed_rows: Number of rows that were not stored before.
    """

    features: list[Features]
    extractor: str
    computed_rows: int = 0


@dataclass
class FeatureCache:
    """Returns the outputs of a trunk for splits, from memory or disk. It computes and stores missing ones.

    Args:
        config: Config with the directory, the budget, the dtype and the extractor.
        strategy: tf.distribute strategy of the run, or None for one device.
        threads: Number of threads of extractors that do not use TensorFlow, or None for all cores.

    Example:
        >>> cache = FeatureCache(config.cache)
        >>> opened = cache.open(model.trunk(), [Request(rows, domain, "train")])
        >>> opened.features[0].take(np.arange(32)).shape
        (32, 1280)
    """

    config: CacheConfig
    strategy: Any = None
    threads: int | None = None
    store: FeatureStore = field(init=False)

    def __post_init__(self):
        self.store = FeatureStore(self.config.dir)

    def open(
        self,
        trunk: keras.Model,
        requests: Sequence[Request],
        *,
        extractor: str | None = None,
        title: str = "features",
        facts: dict | None = None,
    ) -> Opened:
        """Returns the features of all requests. Missing features are computed and stored.

        The choice of the extractor, and whether the cache is used, do not depend on what is stored (except
        for a full disk). The same config thus gives the same result, whatever ran before.

        Args:
            trunk: Frozen functional model from raw inputs to one tensor.
            requests: Splits or views whose features are wanted.
            extractor: Name of the extractor that an earlier process of the run used, or None for the one in
                the config.
            title: Text before the progress line.
            facts: Facts that are stored with the entries for `tlkeras cache list`, e.g. backbone and cut.

        Raises:
            NotWorthwhile: Reading the features would be slower than computing them, or there is no room
                for them.
        """
        return _Work(self, trunk, requests, title, facts or {}).run(extractor)

    def present(self, trunk_identity: dict, request: Request, extractor: str):
        """Returns the `EntryInfo` of a request if its features are stored, else None."""
        return self.store.find(self.key(trunk_identity, request, extractor))

    def key(self, trunk_identity: dict, request: Request, extractor: str) -> str:
        """Returns the content key: a hash (32 hexadecimal digits) of all that determines the features."""
        parts = [FORMAT, trunk_identity, request.facts, self.config.dtype, extractor]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class _Work:
    """One call of `FeatureCache.open`."""

    def __init__(self, cache: FeatureCache, trunk: keras.Model, requests, title: str, facts: dict):
        self.cache, self.store, self.requests = cache, cache.store, list(requests)
        self.title, self.facts = title, facts
        self.identity = identity_of(trunk)
        replicas = 1 if cache.strategy is None else cache.strategy.num_replicas_in_sync
        rows = 128 if "GPU" in accelerators() else 32
        self.trunk = Trunk(trunk, rows * replicas, cache.strategy, cache.threads)
        self.chosen: Chosen | MaybeNone = None
        self.computed = 0

    def run(self, name: str | None) -> Opened:
        """Returns all features, computed by the named extractor, or by that of the config for None."""
        config, rows = self.cache.config, sum(len(r.rows) for r in self.requests)
        large = rows * self._row_bytes > config.memory_mb * 2**20
        if name is None:
            if large:
                self._refuse_what_does_not_pay()
            name = named_by(config, self.trunk, rows)
        missing = [r for r in self.requests if not self.cache.present(self.identity, r, name)]
        if missing:
            name = self._accepted(name, missing[0]).name
            if large:
                self._refuse_without_room(missing)
        features = [self._one(request, name) for request in self.requests]
        return Opened(features, name, self.computed)

    def _one(self, request: Request, name: str) -> Features:
        key = self.cache.key(self.identity, request, name)
        found = self._read(key)
        if found is not None:
            return found
        if self._accepted(name, request).name != name:  # of a damaged entry
            return self._one(request, self.chosen.name)
        with self.store.locked(key):
            return self._read(key, replace=True) or self._compute(key, request)

    def _accepted(self, name: str, request: Request) -> Chosen:
        """Returns the named extractor if it agrees with `exact` on a first real batch, else `exact`."""
        if self.chosen is None:
            batch = lambda: self._first_batch(request)  # noqa: E731
            self.chosen = accepted(name, self.trunk, batch, self.cache.config.tolerance)
        return self.chosen

    def _read(self, key: str, replace: bool = False) -> Features | None:
        """Returns the features of a complete entry, or None. `replace` means that its lock is held."""
        info = self.store.find(key)
        if info is None:
            return None
        damaged = self.store.damaged(info)
        if damaged is None:
            return self._opened(key)
        if replace:
            messages.note(f"{damaged} is damaged: its features are computed again.")
            self.store.remove(key)
        return None

    def _opened(self, key: str, array: np.ndarray | None = None) -> Features | None:
        """Returns the features of an entry, or None if another process has removed it."""
        info = self.store.find(key)
        try:
            return info and open_entry(self.store, info, self.cache.config.memory_mb, array)
        except FileNotFoundError:
            return None

    def _first_batch(self, request: Request) -> np.ndarray | dict[str, np.ndarray]:
        x = next(iter(request.batches(self.trunk.batch_size).take(1)))[0]
        return keras.tree.map_structure(np.asarray, x)

    def _refuse_what_does_not_pay(self) -> None:
        if self._row_bytes / DISK_BYTES_PER_SECOND > expected_seconds_per_row(self.trunk):
            raise NotWorthwhile(
                f"one row of features takes {self._row_bytes / 2**20:.2g} MiB, which is read no faster "
                "than computed"
            )

    def _refuse_without_room(self, missing: list[Request]) -> None:
        free = _free_bytes(self.store.directory)
        needed = self._row_bytes * sum(len(r.rows) for r in missing)
        if needed > 0.9 * free:
            raise NotWorthwhile(
                f"features take {needed / 2**30:.2g} GiB, but only {free / 2**30:.2g} GiB are free in "
                f"{self.store.directory}"
            )

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.trunk.output_shape)) * numpy_dtype(self.cache.config.dtype).itemsize

    def _compute(self, key: str, request: Request) -> Features:
        """Computes, stores and returns the features of a request. The lock of its entry is held."""
        rows = len(request.rows)
        fits = fits_memory(rows * self._row_bytes, self.cache.config.memory_mb)
        array = (
            np.empty((rows, *self.trunk.output_shape), numpy_dtype(self.cache.config.dtype)) if fits else None
        )
        reason = "it cannot be written"
        if self.store.usable():
            try:
                for _ in range(2):
                    if self._write(key, request, array) and (found := self._opened(key, array)):
                        self.computed += rows
                        return found
                reason = "files that are written there are removed by others"
            except RunError as error:  # the disk is full
                reason = str(error)
        return self._in_memory_only(request, array, reason)

    def _write(self, key: str, request: Request, array: np.ndarray | None) -> bool:
        """Writes an entry, and `array` if given. Returns False if another process has removed the files."""
        facts = {**self.facts, "extractor": self.chosen.name, "data": request.domain.config.source}
        facts |= {"split": request.split, "view": request.view}
        rows, dtype = len(request.rows), self.cache.config.dtype
        try:
            with self.store.writing(key, rows, self.trunk.output_shape, dtype, facts) as writer:
                for begin, batch in self._outputs(request):
                    writer.append(batch)
                    if array is not None:
                        array[begin : begin + len(batch)] = batch
        except FileNotFoundError:
            return False
        return True

    def _in_memory_only(self, request: Request, array: np.ndarray | None, reason: str) -> Features:
        if array is None:
            raise NotWorthwhile(f"{self.store.directory} holds no features: {reason}")
        messages.note(f"Features are kept in memory only. {self.store.directory}: {reason}")
        for begin, batch in self._outputs(request):
            array[begin : begin + len(batch)] = batch
        self.computed += len(array)
        return ArrayFeatures(array)

    def _outputs(self, request: Request):
        """Yields `(first row, features)` of each batch, in the order of the rows."""
        dtype, rows, begin = numpy_dtype(self.cache.config.dtype), len(request.rows), 0
        name = f"{self.title}: features of {request.domain.name} {request.split}"
        name += "" if request.view is None else f", view {request.view + 1}"
        with ExtractionProgress(name, rows, self.chosen.name) as progress:
            for x, _, _ in request.batches(self.trunk.batch_size):
                with np.errstate(over="ignore"):  # checked below
                    kept = self.chosen.extract(x)[: rows - begin].astype(dtype, copy=False)
                if dtype == np.float16 and not np.isfinite(kept).all():
                    raise UserError(
                        "The features of this backbone exceed what float16 holds. Allowed: cache.dtype="
                        "float32 or bfloat16. Received: cache.dtype=float16"
                    )
                yield begin, kept
                begin += len(kept)
                progress.advance(len(kept))


def _free_bytes(directory) -> int:
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free

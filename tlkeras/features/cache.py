"""The feature cache: outputs of frozen trunks, computed once and stored under a content key."""

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import keras
import numpy as np

from tlkeras import messages
from tlkeras.backend.devices import accelerators
from tlkeras.backend.extraction import local_replicas
from tlkeras.config import CacheConfig, ExperimentConfig
from tlkeras.data.feature_batches import Features
from tlkeras.errors import UserError
from tlkeras.features.arrays import ArrayFeatures, fits_memory
from tlkeras.features.extractor_choice import Chosen, accepted, expected_seconds_per_row, named_by
from tlkeras.features.extractors import Trunk
from tlkeras.features.identity import Request, identity_of
from tlkeras.features.progress import ExtractionProgress
from tlkeras.features.shared_pass import NotStored, SharedPass
from tlkeras.features.store import FeatureStore, numpy_dtype
from tlkeras.features.unfinished import Span, UnfinishedEntry
from tlkeras.maybe import MaybeNone

FORMAT = 1
# Slow disks read this many bytes per second. Files do not pay for a trunk that computes faster than that.
DISK_BYTES_PER_SECOND = 200e6
# Number of rows that a device computes at once. Rows of one device do not depend on the number of devices.
_BLOCK, _BLOCK_ON_GPU = 32, 128


class NotWorthwhile(Exception):
    """It is better to compute the trunk in each epoch than to store its outputs. The text says why."""


@dataclass
class Opened:
    """The result of `FeatureCache.open`.

    Attributes:
        features: One `Features` per request, in the order of the requests.
        extractor: Name of the extractor that computed them.
        computed_rows: Number of rows that this process has computed.
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
        part: Index of this worker and number of workers. All may work on the same rows; each begins with its
            part of them.

    Example:
        >>> cache = FeatureCache(config.cache)
        >>> opened = cache.open(model.trunk(), [Request(rows, domain, "train")])
        >>> opened.features[0].take(np.arange(32)).shape
        (32, 1280)
    """

    config: CacheConfig
    strategy: Any = None
    threads: int | None = None
    part: tuple[int, int] = (0, 1)
    store: FeatureStore = field(init=False)

    def __post_init__(self):
        self.store = FeatureStore(self.config.dir)

    @classmethod
    def of(cls, config: ExperimentConfig, runtime) -> "FeatureCache":
        """Returns the cache of a run.

        Args:
            config: Config of the run.
            runtime: `Runtime` of the run.
        """
        part = (runtime.worker_index, runtime.workers)
        return cls(config.cache, runtime.strategy, config.runtime.threads, part)

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
        self.block = _BLOCK_ON_GPU if "GPU" in accelerators() else _BLOCK
        self.blocks = local_replicas(cache.strategy)
        self.trunk = Trunk(trunk, self.block * self.blocks, cache.strategy, cache.threads)
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
        together = self._shared_pass(key, request, name)
        found = together.stored()
        if found is not None:
            return found
        if self._accepted(name, request).name != name:  # of a damaged entry
            return self._one(request, self.chosen.name)
        try:
            return together.complete()
        except NotStored as reason:
            return self._in_memory_only(request, str(reason))
        finally:
            self.computed += together.computed

    def _accepted(self, name: str, request: Request) -> Chosen:
        """Returns the named extractor if it agrees with `exact` on a first real batch, else `exact`."""
        if self.chosen is None:
            batch = lambda: self._first_batch(request)  # noqa: E731
            self.chosen = accepted(name, self.trunk, batch, self.cache.config.tolerance)
        return self.chosen

    def _first_batch(self, request: Request) -> np.ndarray | dict[str, np.ndarray]:
        starts = [self.block * i for i in range(self.blocks)]
        x = next(iter(request.batches(lambda: iter([starts]), self.blocks, self.block)))
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

    def _shared_pass(self, key: str, request: Request, name: str) -> SharedPass:
        facts = {**self.facts, "extractor": name, "data": request.domain.config.source}
        facts |= {"split": request.split, "view": request.view}
        shape, config = self.trunk.output_shape, self.cache.config
        entry = UnfinishedEntry(
            self.store, key, len(request.rows), shape, config.dtype, facts, self.cache.part
        )
        outputs = lambda shards: self._outputs(request, shards)  # noqa: E731
        return SharedPass(entry, self._title(request), outputs, config.memory_mb)

    def _in_memory_only(self, request: Request, reason: str) -> Features:
        rows = len(request.rows)
        if not fits_memory(rows * self._row_bytes, self.cache.config.memory_mb):
            raise NotWorthwhile(f"{self.store.directory} holds no features: {reason}")
        messages.note(f"Features are kept in memory only. {self.store.directory}: {reason}")
        array = np.empty((rows, *self.trunk.output_shape), numpy_dtype(self.cache.config.dtype))
        with ExtractionProgress(self._title(request), rows, self.chosen.name) as progress:
            for _, begin, kept in self._outputs(request, lambda: iter([Span(0, rows)])):
                array[begin : begin + len(kept)] = kept
                progress.advance(len(kept))
        self.computed += rows
        return ArrayFeatures(array)

    def _title(self, request: Request) -> str:
        view = "" if request.view is None else f", view {request.view + 1}"
        return f"{self.title}: features of {request.domain.name} {request.split}{view}"

    def _outputs(self, request: Request, spans: Callable[[], Iterator[Span]]):
        """Yields `(span, first row, features)` of each block of rows, in the order of the spans.

        Each device computes one block at a time. Blocks of several spans share a batch.
        """
        dtype, batches = numpy_dtype(self.cache.config.dtype), deque()

        def starts():
            blocks = (block for span in spans() for block in span.blocks(self.block))
            while batch := list(islice(blocks, self.blocks)):
                batches.append(batch)
                begins = [begin for _, begin, _ in batch]
                yield begins + begins[-1:] * (self.blocks - len(batch))

        for x in request.batches(starts, self.blocks, self.block):
            with np.errstate(over="ignore"):  # checked below
                outputs = self.chosen.extract(x).astype(dtype, copy=False)
            for place, (span, begin, end) in enumerate(batches.popleft()):
                kept = outputs[place * self.block :][: end - begin]
                if dtype == np.float16 and not np.isfinite(kept).all():
                    raise UserError(
                        "The features of this backbone exceed what float16 holds. Allowed: cache.dtype="
                        "float32 or bfloat16. Received: cache.dtype=float16"
                    )
                yield span, begin, kept


def _free_bytes(directory) -> int:
    while not directory.exists():
        directory = directory.parent
    return shutil.disk_usage(directory).free
